"""A zip claims how large its files are: one that claims too little takes no more memory for it, and is told."""

import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from books.sources import open_source

CLAIMED, REAL = 1_000, 100_000_000


def claim(path: Path, size: int) -> None:
    """Rewrites the sizes of the zip's last file, where it is stored and in the directory at the zip's end."""
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.rindex(mark)
        content[at + place : at + place + 4] = struct.pack("<I", size)
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["DEFLATED", "BZIP2", "LZMA"])
def test_a_file_that_is_larger_than_the_zip_claims_is_refused_in_little_memory(tmp_path, kind):
    path = tmp_path / "books.zip"
    with zipfile.ZipFile(path, "w", getattr(zipfile, f"ZIP_{kind}")) as archive, archive.open("1.txt", "w") as member:
        for _ in range(REAL // 1_000_000):
            member.write(bytes(1_000_000))
    claim(path, CLAIMED)
    (record,) = open_source(str(path)).records()
    tracemalloc.start()
    data, problem = record.read()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data == b"" and "can't be read: BadZipFile: Bad CRC-32" in problem
    assert most < 0.8 * REAL


@pytest.mark.parametrize("kind", ["STORED", "DEFLATED", "BZIP2", "LZMA"])
def test_an_honest_zip_is_read_to_its_last_byte(tmp_path, kind):
    text = "".join(f"{i} mills on the river. " for i in range(20_000)).encode()
    with zipfile.ZipFile(tmp_path / "books.zip", "w", getattr(zipfile, f"ZIP_{kind}")) as archive:
        archive.writestr("1.txt", text)
        archive.writestr("2.txt", b"")
    first, second = open_source(str(tmp_path / "books.zip")).records()
    assert first.read() == (text, "") and second.read() == (b"", "")
