"""Writes a trained model in the formats that other programs read.

cd python_files
python -m export ../artifacts/tiny/sft/model ../my_model [--dtype bfloat16] [--gguf ../my_model.gguf]
"""

import argparse
import sys
from pathlib import Path

from artifacts import CourseError
from export.folders import DTYPES
from export.gguf_file import to_gguf
from export.huggingface import to_huggingface


def main(arguments: list[str] | None = None) -> int:
    """Exports one model. Returns the exit status: 0, or 1 with one line that says what was wrong."""
    parser = argparse.ArgumentParser(description="Write a trained model in the formats that other programs read.")
    parser.add_argument("model_folder", type=Path, help="a finished model, such as artifacts/tiny/sft/model")
    parser.add_argument("out_folder", type=Path, help="the Hugging Face folder to write")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="the number format of the weights")
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="also write a GGUF file, for llama.cpp and Ollama")
    options = parser.parse_args(arguments)
    try:
        made = [*to_huggingface(options.model_folder, options.out_folder, options.dtype).iterdir()]
        if options.gguf:
            made.append(to_gguf(options.model_folder, options.gguf, options.dtype))
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    for path in sorted(made):
        print(f"{path.stat().st_size:>13,} bytes  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
