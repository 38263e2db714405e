"""Downloading one file: resumed where it broke off, verified, in place only when it is whole."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import requests
import urllib3

from cv_pipelines.errors import FetchError

CHUNK = 1 << 20
SECONDS = (10.0, 60.0)
"""Longest wait for a connection, and for the next bytes."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What a file must be: `size` in bytes and hex `digests` by algorithm, as far as they are published."""

    size: int | None = None
    digests: dict[str, str] = field(default_factory=dict)


class _PermanentError(Exception):
    """This address will not give the file, however often it is asked."""


class _PassingError(Exception):
    """The next try may go better; `seconds` is how long the server asks to be left alone."""

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


def download(
    urls: Sequence[str],
    target: Path,
    wanted: Wanted,
    *,
    attempts: int = 6,
    pause: float = 1.0,
    report: Callable[[int], None] = lambda size: None,
) -> None:
    """Download a file from the first address that gives it.

    What has come stays in `<target>.part`, also over a kill, and the next call goes on from there.

    Args:
        urls: addresses of the same bytes, in the order they are tried.
        target: where the file goes; it is there only when it is whole and verified.
        wanted: what the file must be.
        attempts: failures in a row, without a megabyte of progress, before the next address is tried.
        pause: seconds before the second attempt; doubled each time, up to a minute.
        report: called with the number of bytes there are, as they come.

    Raises:
        FetchError: no address gave the file; says of each why.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    problems = []
    for url in urls:
        try:
            _download_from(url, part, wanted, attempts, pause, report)
        except _PermanentError as error:
            problems.append(f"{url}: {error}")
            logger.warning("%s: %s", url, error)
            continue
        part.replace(target)
        _note(part).unlink(missing_ok=True)
        return
    raise FetchError(f"{target.name}: cannot be downloaded\n" + "\n".join(problems))


def _download_from(
    url: str, part: Path, wanted: Wanted, attempts: int, pause: float, report: Callable[[int], None]
) -> None:
    """Fill `part`; what turns out wrong, perhaps patched together badly, is fetched once more as a whole."""
    for last in (False, True):
        _fill(url, part, wanted, attempts, pause, report)
        defect = defect_of(part, wanted)
        if defect is None:
            return
        part.unlink(missing_ok=True)
        if last:
            raise _PermanentError(defect)


def _fill(
    url: str, part: Path, wanted: Wanted, attempts: int, pause: float, report: Callable[[int], None]
) -> None:
    """Ask again and again, with growing pauses, until the server has given all it has."""
    failures, mark = 0, _size(part)
    while True:
        try:
            _ask(url, part, wanted, report)
            return
        except (_PassingError, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            problem = error
        if _size(part) >= mark + CHUNK:
            failures, mark = 0, _size(part)
        failures += 1
        if failures >= attempts:
            raise _PermanentError(f"{problem}; gave up after {failures} attempts at byte {_size(part)}")
        asked = problem.seconds if isinstance(problem, _PassingError) else 0.0
        time.sleep(max(asked, min(pause * 2 ** (failures - 1), 60.0)))


def _ask(url: str, part: Path, wanted: Wanted, report: Callable[[int], None]) -> None:
    """Send one request for the bytes that are missing and append what comes."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if _note(part).exists():  # the server then sends everything anew if the file has changed meanwhile
            headers["If-Range"] = _note(part).read_text(encoding="ascii", errors="replace")
    with requests.get(url, headers=headers, stream=True, timeout=SECONDS) as answer:
        total = _judge(answer, have, part)
        if total is None:
            return
        appends = answer.status_code == requests.codes.partial_content
        tag = answer.headers.get("ETag", "")
        if tag.startswith('"'):  # weak tags do not vouch for single bytes
            _note(part).write_text(tag, encoding="ascii", errors="replace")
        with part.open("ab" if appends else "wb") as file:
            while block := answer.raw.read1(CHUNK):  # what a broken connection gave is kept to the last byte
                file.write(block)
                report(file.tell())
                if wanted.size is not None and file.tell() > wanted.size:
                    raise _PermanentError(f"gives more than the expected {wanted.size:,} bytes")
    expected = wanted.size if wanted.size is not None else total
    if 0 <= _size(part) < expected:
        raise _PassingError(f"broke off at byte {_size(part):,} of {expected:,}")


def _judge(answer: requests.Response, have: int, part: Path) -> int | None:
    """Return how long the whole file is by the headers (-1: unknown), or None if nothing is missing.

    Raises:
        _PermanentError: the address does not have the file.
        _PassingError: the server has a problem now, or answers another range than it was asked for.
    """
    code = answer.status_code
    numbers = [int(number) for number in re.findall(r"\d+", answer.headers.get("Content-Range", ""))]
    if code == requests.codes.requested_range_not_satisfiable and have:
        if numbers == [have]:
            return None
        part.unlink()
        raise _PassingError("has no bytes beyond those that came before")
    if code == requests.codes.partial_content:
        if not numbers or numbers[0] != have:
            part.unlink(missing_ok=True)
            raise _PassingError(f"answers bytes from {numbers[:1]}; asked from {have}")
        return numbers[2] if len(numbers) == 3 else -1
    if code == requests.codes.ok:
        length = answer.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else -1
    if code in {408, 425, 429} or code >= 500:
        after = answer.headers.get("Retry-After", "")
        raise _PassingError(f"status {code}", min(float(after), 600.0) if after.isdecimal() else 0.0)
    raise _PermanentError(f"status {code}")


def defect_of(path: Path, wanted: Wanted) -> str | None:
    """Return what is wrong with a file, or None if it is what was wanted."""
    size = _size(path)
    if wanted.size is not None and size != wanted.size:
        return f"{size:,} bytes; expected {wanted.size:,}"
    for algorithm, expected in wanted.digests.items():
        with path.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if found != expected:
            return f"{algorithm} {found}; expected {expected}"
    return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _note(part: Path) -> Path:
    """Return the file that keeps the server's tag of what `part` holds."""
    return part.with_name(part.name + ".tag")
