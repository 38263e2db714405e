"""What is done to a data set before it is read: some paths get other bytes, or are no files any more."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

Odd: TypeAlias = Literal["nothing", "a folder", "a pipe", "a link to itself", "a link to nothing"]
Damage: TypeAlias = Mapping[Path, "bytes | Odd"]
"""What lies at some paths instead of what lay there."""

ODD: tuple[Odd, ...] = ("nothing", "a folder", "a pipe", "a link to itself", "a link to nothing")

TOKENS = (
    *(
        b"",
        b"\0",
        b"\xff\xfe",
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b",",
        b"-1",
        b"0",
        b"1e999",
        b"NaN",
        b"-inf",
        b"1.5",
    ),
    *(
        b"99999999999999999999",
        b"1e300",
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b"null",
        b"<",
        b"</object>",
        b"<object>",
    ),
    *(b"&x;", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"../../etc/passwd", b"n00000000", b"IHDR", b"\xff\xd8\xff"),
    *(b"\\ud800", b"PNG", b"#", b"\xc2\xb2", b"\xd9\xa3"),
)


def at_random(files: list[Path], rng: np.random.Generator) -> Damage:
    """Damage the bytes of one or two files in one to three ways each."""
    chosen = rng.choice(len(files), min(len(files), int(rng.integers(1, 3))), replace=False)
    return {files[int(i)]: mutate(files[int(i)].read_bytes(), rng) for i in chosen}


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage bytes in one to three ways."""
    for _ in range(int(rng.integers(1, 4))):
        data = _mutate_once(data, rng)
    return data


def _mutate_once(data: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(0, len(data) + 1))
    length = int(rng.integers(1, max(min(len(data), 64), 1) + 1))
    before, piece, after = data[:at], data[at : at + length], data[at + length :]
    token = TOKENS[int(rng.integers(len(TOKENS)))]
    kind = int(rng.integers(8))
    if kind == 0:
        return _renumbered(data, rng)
    changed = (
        b"",  # a piece lost
        piece + piece,
        rng.bytes(length),
        bytes(b ^ (1 << int(rng.integers(8))) for b in piece[:1]) + piece[1:],
        token + piece,
        token,
    )
    return before if kind == 1 else before + changed[kind - 2] + after  # 1: cut off


def _renumbered(data: bytes, rng: np.random.Generator) -> bytes:
    digits = [i for i, b in enumerate(data[:4096]) if 48 <= b < 58]
    place = digits[int(rng.integers(len(digits)))] if digits else 0
    return data[:place] + str(int(rng.integers(-10, 10**6))).encode() + data[place + 1 :]


@contextmanager
def applied(damage: Damage, root: Path) -> Iterator[None]:
    """Damage a data set within this context.

    Args:
        damage: what is done.
        root: folder of the data set.

    Raises:
        ValueError: a path is not strictly below `root`; nothing is touched.
    """
    for path in damage:
        if not _strictly_below(path, root):
            raise ValueError(f"{path} is not below {root}")
    whole = {path: path.read_bytes() if path.is_file() else None for path in damage}
    try:
        for path, content in damage.items():
            _put(path, content)
        yield
    finally:
        for path in damage:
            _clear(path)
        for path, data in whole.items():
            if data is not None:
                path.write_bytes(data)


def _strictly_below(path: Path, root: Path) -> bool:
    """Whether a path, `..` taken for what it means, lies below a folder: what is undone is removed."""
    plain = Path(os.path.normpath(path))
    return plain.name == path.name and root in plain.parents and not root.is_symlink()


def _put(path: Path, content: bytes | Odd) -> None:
    if isinstance(content, bytes):
        with suppress(OSError, ValueError):  # a name that this file system does not take
            path.write_bytes(content)
        return
    _clear(path)
    if content == "a folder":
        path.mkdir()
    elif content == "a pipe":
        os.mkfifo(path)
    elif content.startswith("a link"):
        path.symlink_to(path.name if content == "a link to itself" else "nowhere")


def _clear(path: Path) -> None:
    with suppress(OSError, ValueError):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()  # the folders that are put in a file's place are empty
        else:
            path.unlink()
