"""The page that goes with an exported model: what it is, what was measured, how to run it, what to expect.

Every figure on it comes from the manifest that the training wrote, and only if that manifest is about these very
weights. Where there is none, the page says so.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import artifacts
from bpe_tokenizer import BPETokenizer
from Dummy_Model import GPT

# What the manifests of 4_Pretraining and 6_SFT_Training record: the words for it, and how the number is written.
LABELS = {
    "steps": ("training steps", "{:,.0f}"),
    "tokens": ("tokens seen in training", "{:,.0f}"),
    "seconds": ("time of training, in seconds", "{:,.0f}"),
    "val_loss": ("validation loss, in nats a token", "{:.3f}"),
    "bits_per_byte_at_start": ("bits per byte on books kept aside, before training", "{:.3f}"),
    "bits_per_byte": ("bits per byte on books kept aside", "{:.3f}"),
    "bits_per_byte_before": ("bits per byte on books kept aside, before fine-tuning", "{:.3f}"),
    "bits_per_byte_after": ("bits per byte on books kept aside, after fine-tuning", "{:.3f}"),
    "known": ("drill questions answered exactly right (mean over kinds), known words", "{:.1%}"),
    "unseen": ("the same, words that no drill in training used", "{:.1%}"),
    "phrasing": ("the same, with question wordings not used in training", "{:.1%}"),
}


def recorded_facts(model_folder: Path) -> dict[str, Any]:
    """What the course measured of this model: the figures in the manifest of the phase that made it.

    Returns:
        the facts, and the marks of the everyday exam as ``everyday``; ``{}`` if the folder is neither an earlier
        export nor ``…/<phase>/model`` with a manifest about these weights.
    """
    model_folder = Path(model_folder).resolve()
    try:
        own = artifacts.read_json(model_folder / "manifest.json")  # of an earlier export, which was checked
        if own["exported"] and isinstance(own["facts"], dict):
            return own["facts"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        manifest = artifacts.read_json(model_folder.parent / "manifest.json")
        recorded = manifest["files"][f"{model_folder.name}/model.safetensors"]["sha256"]
        if recorded != artifacts.sha256(model_folder / "model.safetensors"):
            return {}  # the phase is half-way through another run, or the weights are someone else's
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    facts = {name: value for name, value in manifest.items() if name in LABELS and isinstance(value, int | float)}
    exam = manifest.get("everyday") or _marks_of_phase_7(model_folder, recorded)
    return {**facts, "everyday": exam} if isinstance(exam, dict) else facts


def _marks_of_phase_7(model_folder: Path, weights: str) -> dict[str, Any] | None:
    """What 7.4 noted of the everyday exam, if it was about these weights."""
    try:
        noted = artifacts.read_json(model_folder.parent.parent / "sampling" / "everyday.json")
        return {key: noted[key] for key in ("kinds", "examples")} if noted["model"] == weights else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _everyday_lines(exam: dict[str, Any]) -> Iterator[str]:
    """The marks of the everyday exam, kind by kind, and answers that were drawn by a seed."""
    yield from ("", "## The everyday exam", "")
    yield "240 prompts as people type them, written by others and marked by patterns. Prompts of up to four words may"
    yield "stand in the training conversations, longer ones in other wordings: this is no measure of unseen questions."
    yield "*Guessing* is the score of the best single answer, given to every prompt of that kind."
    yield from ("", "| kind | right | of | guessing |", "| --- | ---: | ---: | ---: |")
    for row in exam["kinds"]:
        yield f"| {row['kind'].replace('_', ' ')} | {row['right']} | {row['asked']} | {row['guessing']} |"
    yield from ("", "Answers drawn by a seed, not chosen; wrong ones have a cross:", "")
    yield from ("| prompt | answer | |", "| --- | --- | --- |")
    for row in exam["examples"]:
        texts = (" ".join(row[name].split()).replace("|", "\\|") for name in ("prompt", "answer"))
        yield f"| {' | '.join(texts)} | {'' if row['right'] else '✗'} |"


def card(model: GPT, tokenizer: BPETokenizer, facts: dict[str, Any], dtype: str, chat: bool) -> str:
    """The page in Markdown, with the head that hubs read.

    Args:
        facts: of ``recorded_facts``.
        dtype: of the stored weights.
        chat: whether the model was taught to answer.
    """
    return "\n".join(_lines(model, tokenizer, facts, dtype, chat)) + "\n"


def _lines(model: GPT, tokenizer: BPETokenizer, facts: dict[str, Any], dtype: str, chat: bool) -> Iterator[str]:
    config = model.config
    yield from ("---", "library_name: transformers", "pipeline_tag: text-generation", "language: en", "---", "")
    what = "answers questions" if chat else "goes on with a text"
    n = config.n_parameters
    size = f"{n / 1e6:.1f} million weights" if n >= 1e6 else f"{n:,} weights"
    yield f"# A small language model that {what}"
    yield ""
    yield f"A decoder in the Qwen3 layout with {size}, built from nothing in a course of notebooks."
    yield from ("", "## Shape", "", "| | |", "| --- | --- |")
    yield f"| weights | {n:,}, stored as {dtype} |"
    yield f"| layers × width | {config.n_layer} × {config.n_embd} |"
    yield f"| heads / key-value heads × head width | {config.n_head} / {config.n_kv_head} × {config.head_width} |"
    yield f"| width inside SwiGLU | {config.n_hidden} |"
    yield f"| context | {config.context_length} tokens |"
    yield f"| vocabulary | {tokenizer.vocab_size:,} tokens, byte-level BPE, {tokenizer.fingerprint} |"
    yield from ("", "## What was measured", "")
    if facts:
        yield "By the notebook that trained it, on these weights in float32:"
        yield from ("", "| | |", "| --- | --- |")
        for name, (label, form) in LABELS.items():
            if name in facts:
                yield f"| {label} | {form.format(facts[name])} |"
    else:
        yield "Nothing is recorded about these weights: no manifest of a training run came with them."
    if chat and "everyday" in facts:
        yield from _everyday_lines(facts["everyday"])
    yield from ("", "## Use", "", "```python", "from transformers import AutoModelForCausalLM, AutoTokenizer", "")
    yield 'model = AutoModelForCausalLM.from_pretrained("this folder")'
    yield 'tokenizer = AutoTokenizer.from_pretrained("this folder")'
    if chat:
        yield 'messages = [{"role": "user", "content": "Mary put the lamp in the kitchen. Where is the lamp?"}]'
        yield 'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")'
    else:
        yield 'inputs = tokenizer("The President of the", return_tensors="pt")'
    yield "answer = model.generate(**inputs)[0, inputs.input_ids.shape[1] :]"
    yield from ("print(tokenizer.decode(answer, skip_special_tokens=True))", "```", "")
    if chat:
        yield "Every message stands between a mark of its role and `<|end|>`; the template in the folder writes them."
    else:
        yield "It was trained on books alone and doesn't answer questions: it goes on with what it is given."
    yield from ("", "## Limits", "")
    yield f"With {size} it knows next to nothing of the world, and it says wrong things in a sure tone."
    yield "Nobody has made it safe. It is meant for learning how such models work."
