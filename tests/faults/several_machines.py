"""Several machines, tried on one: two hosts that train together, and a worker killed in the middle of many books.

    python tests/faults/several_machines.py hosts
    python tests/faults/several_machines.py books FOLDER

``hosts`` makes two hosts of network namespaces joined by a cable, trains on both with the command of
readme_materials/several_machines.md, once in peace and then with the cable out, with the second host lost and brought
back, and with it lost for good. It prints how far any loss is from that of one process. It needs Linux, root and the
command ip. ``books`` prepares a folder of Gutenberg books on one machine and then as tasks of a cluster, one of whose
workers is killed, and compares the SHA-256 of all files. It needs requirements-cluster.txt.
"""
# ruff: noqa: E402

import argparse
import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CODE = Path(__file__).resolve().parents[2] / "python_files"
sys.path[:0] = [str(CODE)]
import numpy as np

from books import shards
from books.sources import open_source, read_books
from bpe_tokenizer import BPETokenizer
from train import read_log

STEPS, CUT_AT = 50, 23  # all steps, and the one after which a host is disturbed
AWAY = 20  # seconds that a cable or a host is away
NAMESPACES = ("course-a", "course-b")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
RUN = ["--steps", STEPS, "--batch-size", 8, "--micro-batch-size", 2, "--checkpoint-every", 10, "--vocab-size", 64]
RUN += ["--context-length", 64, "--n-layer", 2, "--n-embd", 128, "--device", "cpu", "--precision", "float32"]


# ---- two hosts


def ip(*words: str) -> str:
    """Runs the command ip and returns what it says."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@contextmanager
def two_hosts() -> Iterator[None]:
    """Two network namespaces joined by a cable. They are taken away at the end, with all that runs in them."""
    for name in NAMESPACES:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)  # left by a killed run
        ip("netns", "add", name)
    try:
        ends = [("eth0", "netns", name) for name in NAMESPACES]
        ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        for name, address in zip(NAMESPACES, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "lo", "up")
            cable(name, "up")
        yield
    finally:
        for name in NAMESPACES:
            kill(name)
            ip("netns", "delete", name)


def cable(host: str, state: str) -> None:
    """Puts a host's cable in ("up") or takes it out ("down")."""
    ip("-n", host, "link", "set", "eth0", state)


def kill(host: str) -> None:
    """Ends all processes of a host at once, as when its power fails."""
    for pid in ip("netns", "pids", host).split():
        os.kill(int(pid), signal.SIGKILL)


def start(host: int, data: Path, folder: Path, nodes: str) -> subprocess.Popen:
    """Starts the page's command on a host: two processes of training."""
    words = ["ip", "netns", "exec", NAMESPACES[host], sys.executable, "-m", "torch.distributed.run"]
    words += ["--nnodes", nodes, "--nproc_per_node", "2", "--max-restarts", "10", "--rdzv-backend", "c10d"]
    words += ["--rdzv-id", "full", "--rdzv-endpoint", f"{ADDRESSES[0]}:29500", "--local-addr", ADDRESSES[host]]
    words += ["--rdzv-conf", f"is_host={1 - host}", "train.py", str(data), str(folder), *map(str, RUN)]
    surroundings = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
    surroundings["GLOO_SOCKET_IFNAME"] = "eth0"  # else gloo may take the address of localhost
    with open(f"{folder}.txt", "a", encoding="utf-8") as said:
        return subprocess.Popen(words, cwd=CODE, env=surroundings, stdout=said, stderr=said)


def losses(folder: Path) -> list[float]:
    """The losses of a run so far."""
    log = folder / "log.csv"
    return [float(row["loss"]) for row in read_log(log)] if log.exists() else []


def peace(restart: Callable[[], None]) -> None:
    """Both hosts stay."""


def cable_out(restart: Callable[[], None]) -> None:
    """The second host's cable is out for a while."""
    cable(NAMESPACES[1], "down")
    time.sleep(AWAY)
    cable(NAMESPACES[1], "up")


def lost_and_back(restart: Callable[[], None]) -> None:
    """The second host is lost and comes back."""
    cable(NAMESPACES[1], "down")
    kill(NAMESPACES[1])
    time.sleep(AWAY)
    cable(NAMESPACES[1], "up")
    restart()


def lost(restart: Callable[[], None]) -> None:
    """The second host is lost for good, and the first waits less long for it than Linux would."""
    subprocess.run(["ip", "netns", "exec", NAMESPACES[0], "sysctl", "-qw", "net.ipv4.tcp_retries2=5"], check=True)
    cable(NAMESPACES[1], "down")
    kill(NAMESPACES[1])


def train_on_hosts(data: Path, room: Path, trouble: Callable[[Callable[[], None]], None]) -> list[float]:
    """The losses of a run on two hosts, with trouble after step CUT_AT."""
    room.mkdir()
    nodes = "2" if trouble is peace else "1:2"
    with two_hosts():
        first = start(0, data, room / "first", nodes)
        start(1, data, room / "second", nodes)
        while first.poll() is None and len(losses(room / "first")) < CUT_AT:
            time.sleep(0.005)
        if first.poll() is None:
            trouble(lambda: start(1, data, room / "second", nodes))
        if first.wait(timeout=600):
            sys.exit(f"{trouble.__doc__} The first host failed:\n{(room / 'first.txt').read_text()[-3000:]}")
    return losses(room / "first")


def hosts() -> None:
    """Trains on two hosts in all ways and prints how far the losses are from those of one process."""
    with tempfile.TemporaryDirectory() as temporary:
        room = Path(temporary)
        data = room / "data"
        data.mkdir()
        rng = np.random.default_rng(0)  # a walk through 64 tokens that mostly goes on to the next one
        walk = np.cumsum(np.where(rng.random(60_000) < 0.8, 1, rng.integers(0, 64, 60_000))) % 64
        np.save(data / "train_00000.npy", walk.astype(np.uint16))
        subprocess.run([sys.executable, "train.py", data, room / "one", *map(str, RUN)], cwd=CODE, check=True)
        alone = losses(room / "one")
        for trouble in (peace, cable_out, lost_and_back, lost):
            begin = time.monotonic()
            together = train_on_hosts(data, room / trouble.__name__, trouble)
            assert len(together) == len(alone) == STEPS, f"{len(together)} of {STEPS} steps are in the log"
            apart = max(abs(a - b) for a, b in zip(together, alone, strict=True))
            print(f"{trouble.__doc__} {STEPS} steps in {time.monotonic() - begin:.0f} s, ", end="")
            print(f"losses at most {apart:.7f} from one process's ({alone[0]:.3f} to {alone[-1]:.3f}).", flush=True)


# ---- a killed worker


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that phase 2 made."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def books(source: str) -> None:
    """Prepares books on one machine and on a cluster that loses a worker, and compares all files."""
    with tempfile.TemporaryDirectory() as temporary:
        room = Path(temporary)
        tokenizer = BPETokenizer.train([book.text for book in itertools.islice(read_books(source, 20), 20)], 4096)
        tokenizer.save(room / "tokenizer")
        shards.prepare_books(open_source(source), tokenizer, room / "one")
        words = [sys.executable, "-m", "books.cluster", source, room / "tokenizer", room / "several"]
        words += ["--tasks", "8", "--workers", "2"]
        with subprocess.Popen(words, cwd=CODE, stderr=subprocess.PIPE, text=True) as run:
            done = room / "several" / "work"
            while run.poll() is None and len(list(done.glob("*_rows.json"))) < 7:
                time.sleep(0.05)
            children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text(encoding="ascii").split()
            os.kill(next(int(n) for n in children if b"spawn_main" in Path(f"/proc/{n}/cmdline").read_bytes()), 9)
            said = run.communicate()[1].splitlines()[-1]
        left = len(list(done.glob("*_rows.json")))
        print(f"A worker was killed, {left} blocks are finished. The run ended with {run.returncode}: {said}")
        subprocess.run(words, cwd=CODE, check=True)
        one, several = hashes(room / "one"), hashes(room / "several")
        for name, digest in one.items():
            print(digest[:16], "equal" if several.get(name) == digest else "DIFFERENT", name)
        assert one == several, "the cluster's files differ from the one machine's"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("hosts", "books"))
    parser.add_argument("folder", nargs="?", help="of Gutenberg .txt files, for books")
    options = parser.parse_args()
    if options.what == "hosts":
        if os.geteuid() or not shutil.which("ip"):
            parser.error("hosts needs root and the command ip (package iproute2)")
        hosts()
    elif options.folder is None:
        parser.error("name the folder of books")
    else:
        books(str(Path(options.folder).resolve()))


if __name__ == "__main__":
    main()
