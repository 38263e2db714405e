"""Mutated data sets: each reader on its own drawn sample, with a file or two damaged at random.

A reader may give tables or refuse with a typed error. Anything else (another exception, more than a second of
CPU a file, memory beyond a bound) is a find: it is printed with reader, seed and file, and can be repeated.

    python tests/sources/fuzzing.py --inputs 100000 --seed 0
"""

from __future__ import annotations

import argparse
import inspect
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from cv_pipelines.errors import CvPipelinesError
from cv_pipelines.sources import READERS, reader

SECONDS = 20
"""CPU seconds that one reading may take."""

MEMORY = 4 << 30
"""Bytes that the address space may grow by."""

TOKENS = [
    *(b"", b"\0", b"\xff\xfe", b"\n", b"\r\n", b" ", b"\t", b",", b"-1", b"0", b"1e999", b"NaN", b"-inf"),
    *(
        b"99999999999999999999",
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b"null",
        b"<",
        b"</object>",
        b"<object>",
        b"&x;",
    ),
    *(b"\xef\xbb\xbf", b"\xed\xa0\x80", b"../../etc/passwd", b"n00000000", b"IHDR", b"\xff\xd8\xff", b"PNG"),
]


@dataclass(frozen=True)
class Find:
    """An input that a reader did not bear."""

    reader: str
    seed: int
    files: list[str]
    error: str


class HangError(Exception):
    """A reading took longer than `SECONDS` of CPU."""


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage the bytes of a file in one to three ways."""
    for _ in range(int(rng.integers(1, 4))):
        data = _damage(data, rng)
    return data


def _damage(data: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(0, len(data) + 1))
    length = int(rng.integers(1, max(min(len(data), 64), 1) + 1))
    before, piece, after = data[:at], data[at : at + length], data[at + length :]
    token = TOKENS[int(rng.integers(len(TOKENS)))]
    damaged = {
        "cut off": before,
        "a piece lost": before + after,
        "a piece twice": before + piece + piece + after,
        "noise": before + rng.bytes(length) + after,
        "a bit flipped": before
        + bytes(b ^ (1 << int(rng.integers(8))) for b in piece[:1])
        + piece[1:]
        + after,
        "something with a meaning put in": before + token + piece + after,
        "something with a meaning put over": before + token + after,
        "another number": _renumbered(data, rng),
    }
    return list(damaged.values())[int(rng.integers(len(damaged)))]


def _renumbered(data: bytes, rng: np.random.Generator) -> bytes:
    digits = [i for i, b in enumerate(data[:4096]) if chr(b).isdigit()]
    place = digits[int(rng.integers(len(digits)))] if digits else 0
    return data[:place] + str(int(rng.integers(-10, 10**6))).encode() + data[place + 1 :]


def fuzz(name: str, inputs: int, seed: int, folder: Path) -> Iterator[tuple[str, Find | None]]:
    """Read damaged samples of one reader.

    Args:
        name: of the reader.
        inputs: how many.
        seed: of the damage; input k depends on (seed, k) alone.
        folder: where the sample is drawn.

    Yields:
        What became of each ("read", "refused" or "find"), and the find.
    """
    module = reader(name)
    _draw(module, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    options = getattr(module, "SAMPLE_OPTIONS", {})
    for number in range(inputs):
        rng = np.random.default_rng([seed, number])
        chosen = [
            files[int(i)] for i in rng.choice(len(files), min(len(files), int(rng.integers(1, 3))), False)
        ]
        whole = {path: path.read_bytes() for path in chosen}
        for path, data in whole.items():
            path.write_bytes(mutate(data, rng))
        try:
            yield _attempt(module, folder, options), None
        except Exception:
            names = [path.relative_to(folder).as_posix() for path in chosen]
            yield "find", Find(name, number, names, traceback.format_exc())
        finally:
            for path, data in whole.items():
                path.write_bytes(data)


def _draw(module: ModuleType, folder: Path) -> None:
    parameters = inspect.signature(module.write_sample).parameters
    small = {"n": 6, "size": (32, 32)} if "size" in parameters else {"n": 2}
    module.write_sample(folder, **small, seed=1)


def _attempt(module: ModuleType, folder: Path, options: dict[str, object]) -> str:
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        module.read(folder, **options)
    except CvPipelinesError:
        return "refused"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return "read"


def bound() -> None:
    """Bound time and memory of what follows in this process."""

    def stop(*_: object) -> None:
        """Turn the alarm into an exception."""
        raise HangError

    signal.signal(signal.SIGVTALRM, stop)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))


def main() -> None:
    """Fuzz every reader in turn and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="of all readers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", nargs="*", default=sorted(set(READERS) - {"digits"}))
    chosen = parser.parse_args()
    bound()
    found = 0
    for name in chosen.readers:
        started, outcomes = time.perf_counter(), Counter[str]()
        with tempfile.TemporaryDirectory() as folder:
            for outcome, find in fuzz(name, chosen.inputs // len(chosen.readers), chosen.seed, Path(folder)):
                outcomes[outcome] += 1
                if find is not None:
                    print(f"{name}, seed {chosen.seed}, input {find.seed}, {find.files}\n{find.error}")
        found += outcomes["find"]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"{name}: {dict(outcomes)}, {time.perf_counter() - started:.0f} s, peak {peak} MB", flush=True)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
