"""The languages that a header or a catalogue gives for a book, in whatever form: "English, French", "eng", "en-GB"."""

import re

CODES = {
    "afrikaans": "af", "arabic": "ar", "bulgarian": "bg", "catalan": "ca", "cebuano": "ceb", "chinese": "zh",
    "czech": "cs", "danish": "da", "dutch": "nl", "english": "en", "esperanto": "eo", "estonian": "et",
    "farsi": "fa", "finnish": "fi", "flemish": "nl", "french": "fr", "frisian": "fy", "friulian": "fur",
    "gaelic": "gd", "galician": "gl", "german": "de", "greek": "el", "hebrew": "he", "hungarian": "hu",
    "icelandic": "is", "iloko": "ilo", "interlingua": "ia", "inuktitut": "iu", "irish": "ga", "italian": "it",
    "japanese": "ja", "kashubian": "csb", "korean": "ko", "latin": "la", "lithuanian": "lt", "maori": "mi",
    "norwegian": "no", "occitan": "oc", "persian": "fa", "polish": "pl", "portuguese": "pt", "romanian": "ro",
    "russian": "ru", "sanskrit": "sa", "serbian": "sr", "slovenian": "sl", "spanish": "es", "swedish": "sv",
    "tagalog": "tl", "telugu": "te", "ukrainian": "uk", "welsh": "cy", "yiddish": "yi",
}  # fmt: skip
_THREE_LETTERS = {
    "fra": "fr", "fre": "fr", "deu": "de", "ger": "de", "spa": "es", "ita": "it", "nld": "nl", "dut": "nl",
    "fin": "fi", "por": "pt", "lat": "la", "ell": "el", "gre": "el", "zho": "zh", "chi": "zh", "epo": "eo", "swe": "sv",
}  # fmt: skip
# No language, or several. Older kinds of English count as English: the words of the book decide.
_SAY_NOTHING = {"und", "mul", "mis", "zxx", "nil", "not"}
_OLDER_ENGLISH = {"eng", "enm", "ang", "sco"}


def language_codes(said: str) -> list[str]:
    """The codes of the languages that ``said`` names, each once, in its order.

    Lists of any form, names, codes of two or three letters and regions ("en-GB") are understood. What is no language
    is left out, so ``[]`` means that nothing is known.
    """
    words = [re.split(r"[-_]", word)[0] for word in re.findall(r"[^\W\d_]+(?:[-_][^\W\d_]+)*", said.lower()[:500])]
    if any(len(word) > 3 for word in words):  # names, and then a short word is part of a phrase
        codes = [CODES.get(word, "") for word in words]
    else:
        codes = ["en" if word in _OLDER_ENGLISH else _THREE_LETTERS.get(word, word) for word in words]
    return list(dict.fromkeys(code for code in codes if len(code) > 1 and code not in _SAY_NOTHING))
