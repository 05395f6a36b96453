"""Kills training at random moments, runs it again each time, and compares all losses with an undisturbed run.

python benchmarks/kill_training.py [SHARDS_FOLDER] [--times 20] [--steps 120] [--compile]
"""
# ruff: noqa: E402

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON_FILES = ROOT / "python_files"
sys.path[:0] = [str(PYTHON_FILES)]
from tqdm import tqdm

from train import read_log

RUN = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from Dummy_Model import GPT, GPTConfig
from npy_datasets import PretrainDataset
from train import TrainConfig, Trainer

torch.manual_seed(1)
model = GPT(GPTConfig(4096, 128, 2, 128, 2, 1))
config = TrainConfig(max_steps=int(sys.argv[4]), eval_every=10, eval_batches=2, checkpoint_every=7, device="cpu",
                     compile=sys.argv[5] == "True")
data = PretrainDataset(sys.argv[2], "train", 128, 8, seed=1)
Trainer(model, data, config, sys.argv[3], PretrainDataset(sys.argv[2], "validation", 128, 8)).run()
"""


def outcome(folder: Path) -> tuple[list[dict[str, str]], str]:
    """The log without its clock, and the hash of the finished weights."""
    rows = [{name: row[name] for name in row if name != "seconds"} for row in read_log(folder / "log.csv")]
    return rows, hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shards", nargs="?", default=ROOT / "artifacts" / "tiny" / "books", type=Path)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="with torch.compile")
    options = parser.parse_args()
    generator = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "run.py").write_text(RUN, encoding="utf-8")

        def start(out: str) -> subprocess.Popen:
            facts = [PYTHON_FILES, options.shards, root / out, str(options.steps), str(options.compile)]
            return subprocess.Popen([sys.executable, root / "run.py", *facts], stderr=subprocess.DEVNULL)

        started = time.perf_counter()
        assert start("straight").wait() == 0
        whole = time.perf_counter() - started
        losses, weights = outcome(root / "straight")
        print(f"undisturbed: {len(losses)} steps in {whole:.1f} s, last loss {losses[-1]['loss']}")
        at, kills = [], 0
        for _ in tqdm(range(options.times), desc="kills"):
            process = start("killed")
            try:  # any moment of a start and of a fair piece of training
                process.wait(generator.uniform(0.3, 4.0 + whole / options.times))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
            log = root / "killed" / "log.csv"
            at.append(int(read_log(log)[-1]["step"]) if log.exists() and read_log(log) else 0)
        assert start("killed").wait() == 0
        again, again_weights = outcome(root / "killed")
        left = [path.name for path in (root / "killed").rglob("*.tmp")]
        print(f"{kills} kills, at steps {at}")
        verdicts = ["equal" if same else "DIFFER" for same in (again == losses, again_weights == weights)]
        print(f"losses {verdicts[0]}, weights {verdicts[1]}, temporary files left: {left or 'none'}")
        if again != losses or again_weights != weights:
            sys.exit(1)


if __name__ == "__main__":
    main()
