"""Writes a trained model in the formats that other programs read.

cd python_files
python -m export ../artifacts/tiny/sft/model [../my_model] [--dtype bfloat16] [--gguf ../my_model.gguf]
"""

import argparse
import sys
from pathlib import Path

from artifacts import CourseError
from export.folders import DTYPES
from export.gguf_file import to_gguf
from export.huggingface import to_huggingface


def path(text: str) -> Path:
    """A path as it was typed, with ``~`` for the home folder where no shell has seen to that (``--gguf=~/m.gguf``)."""
    try:
        if "\0" in text or not text:
            raise argparse.ArgumentTypeError(f"{text!r} names no file")
        return Path(text).expanduser()
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"there is no home folder for {text}") from None


def main(arguments: list[str] | None = None) -> int:
    """Exports one model. Returns the exit status: 0, or 1 with one line that says what was wrong."""
    parser = argparse.ArgumentParser(description="Write a trained model in the formats that other programs read.")
    known = "a finished model, such as artifacts/tiny/sft/model, or one in the Hugging Face format"
    parser.add_argument("model_folder", type=path, help=known)
    parser.add_argument("out_folder", type=path, nargs="?", help="the Hugging Face folder to write")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="the number format of the weights")
    parser.add_argument("--gguf", type=path, metavar="FILE", help="write a GGUF file, for llama.cpp and Ollama")
    options = parser.parse_args(arguments)
    if not options.out_folder and not options.gguf:
        parser.error("name a folder to write to, or a file with --gguf")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal of another encoding shows ? instead of failing
            stream.reconfigure(errors="replace")
    try:
        made = []
        if options.out_folder:
            made += to_huggingface(options.model_folder, options.out_folder, options.dtype).iterdir()
        if options.gguf:
            made.append(to_gguf(options.model_folder, options.gguf, options.dtype))
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    for file in sorted(made):
        print(f"{file.stat().st_size:>13,} bytes  {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
