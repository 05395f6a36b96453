"""Attacks the course for as long as you like, with real processes, signals, files and disks, and counts what held.

    python tests/faults/campaign.py --minutes 30
    python tests/faults/campaign.py --only kill,disk --seed 2

prints the table of README.md and writes every trial that did not hold to campaign_failures.txt. It needs Linux, for
the small disks root, and the package hypothesis for the fuzzed files. Attacks share the time; each ends early once it
has made the trials that it wants.
"""
# ruff: noqa: E402

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]
import attack_files
import attack_long
import attack_page
import attack_writes
from ground import Ground, Trial, survey
from tqdm import tqdm

ATTACKS: dict[str, Callable[[Ground], Iterator[Trial]]] = {
    **attack_writes.ATTACKS, **attack_files.ATTACKS, **attack_page.ATTACKS, **attack_long.ATTACKS,
}  # fmt: skip


def table(trials: list[Trial], seconds: dict[str, float]) -> str:
    """The table of README.md: what was tried how often, and how often it held."""
    lines = ["| attack | trials | held | seconds |", "| --- | --- | --- | --- |"]
    for attack in dict.fromkeys(trial.attack for trial in trials):
        own = [trial for trial in trials if trial.attack == attack]
        held = sum(not trial.wrong for trial in own)
        lines.append(f"| {attack} | {len(own):,} | {held:,} | {seconds.get(attack, 0):.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help=f"some of {','.join(ATTACKS)}")
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(ATTACKS)
    if unknown := set(chosen) - set(ATTACKS):
        parser.error(f"there is no attack {sorted(unknown)[0]}: there are {', '.join(ATTACKS)}")
    trials, seconds = [], {}
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # the disk is not what is tried
    with (
        tempfile.TemporaryDirectory(dir=memory) as temporary,
        open("campaign_failures.txt", "w", encoding="utf-8") as failures,
    ):
        ground = survey(Path(temporary), options.seed)
        end, shown = time.monotonic() + 60 * options.minutes, 0.0
        with tqdm(total=len(chosen), desc="attacks", unit="", mininterval=1.0) as bar:
            for number, name in enumerate(chosen):
                share = (end - time.monotonic()) / (len(chosen) - number)
                until, last = time.monotonic() + share, time.monotonic()
                for trial in ATTACKS[name](ground):
                    trials.append(trial)
                    seconds[trial.attack] = seconds.get(trial.attack, 0) + time.monotonic() - last
                    last = time.monotonic()
                    bar.set_postfix_str(f"{trial.attack}, {len(trials):,} trials", refresh=False)
                    if time.monotonic() - shown > 1:
                        bar.refresh()
                        shown = time.monotonic()
                    if trial.wrong:
                        print(f"{trial.attack}: {trial.wrong}\n", file=failures, flush=True)
                    if last > until:
                        break
                bar.update()
    print(table(trials, seconds))
    sys.exit(any(trial.wrong for trial in trials))


if __name__ == "__main__":
    main()
