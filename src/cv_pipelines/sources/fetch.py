"""Getting a data set that is not there: archives found or downloaded, verified, unpacked, once."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from cv_pipelines.config import Archive, Fetch, SourceConfig
from cv_pipelines.errors import FetchError
from cv_pipelines.files import write_text
from cv_pipelines.sources.archives import Unpacker
from cv_pipelines.sources.download import Wanted, defect_of, download

VERIFIED = "verified.json"
WEB = ("http://", "https://")

logger = logging.getLogger(__name__)


def source_root(config: SourceConfig) -> Path | None:
    """Return the folder that a source is read from: its `root`, or where it was fetched to.

    `root` counts if it holds anything beside archives that are to be unpacked.
    """
    root = Path(config.root) if config.root else None
    if config.fetch is None or _holds_data(root, config.fetch):
        return root
    return Path(config.fetch.folder)


def _holds_data(root: Path | None, fetch: Fetch) -> bool:
    packed = {archive.file for archive in fetch.archives if archive.into is not None}
    return root is not None and root.is_dir() and any(path.name not in packed for path in root.iterdir())


def fetch(config: SourceConfig) -> Path | None:
    """Make sure that a source's files are there; does nothing if they are, from the archives as they are now.

    Two runs at once wait for each other. A killed run leaves what it has, and the next one goes on from it;
    `fetch.folder` gets its name only when everything is in it.

    Returns:
        The folder to read from; see `source_root`.

    Raises:
        FetchError: an archive cannot be had, is not what was published, or is not safe.
    """
    root = source_root(config)
    if (
        config.fetch is None
        or root != Path(config.fetch.folder)
        or _is_up_to_date(config, config.fetch, root)
    ):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        if not _is_up_to_date(config, config.fetch, root):
            _fetch_all(config, config.fetch, root)
    return root


def _is_up_to_date(config: SourceConfig, fetch: Fetch, root: Path) -> bool:
    """Whether the folder is there, and no archive on this machine is another than when it was unpacked."""
    if not root.is_dir():
        return False
    places = _places(config, root)
    notes = _read_notes(places[0])
    for archive in fetch.archives:
        for path in _paths(archive, places):
            then = notes.get(str(path))
            if then and path.is_file():
                now = _state(path, _wanted(archive))
                # with a digest it is what it was, whatever its time
                if then != now and not (now[3] and then[2:] == now[2:]):
                    return False
    return True


def _places(config: SourceConfig, root: Path) -> list[Path]:
    """Return where archives may lie: the folder of downloads, then the source's own."""
    downloads = root.with_name(root.name + ".downloads")
    return [downloads, *([Path(config.root)] if config.root else [])]


def _paths(archive: Archive, places: list[Path]) -> list[Path]:
    """Return every path at which an archive may lie on this machine."""
    local = [Path(url) for url in archive.urls if not url.startswith(WEB)]
    return [*(place / archive.file for place in places), *local]


def _wanted(archive: Archive) -> Wanted:
    digests = {name: value for name in ("md5", "sha256") if (value := getattr(archive, name))}
    return Wanted(archive.size, digests)


def _fetch_all(config: SourceConfig, wanted: Fetch, root: Path) -> None:
    fresh = root.with_name(root.name + ".unpacking")
    places = _places(config, root)
    _ask_for_missing(wanted, places)
    for old in (root, fresh) if root.is_dir() else ():  # of archives that have changed since
        shutil.rmtree(old, ignore_errors=True)
    found = [_locate(archive, wanted.attempts, places) for archive in wanted.archives]
    for archive, path in zip(wanted.archives, found, strict=True):
        folder = fresh / (archive.into or ".")
        folder.mkdir(parents=True, exist_ok=True)
        if archive.into is None:
            shutil.copyfile(path, fresh / archive.file)
            continue
        with _progress(f"unpacking {archive.file}", None) as report:
            Unpacker(folder, growth=wanted.growth, report=_sum(report)).unpack(path, nested=archive.nested)
    fresh.replace(root)
    logger.info("fetched %d archives into %s", len(found), root)


def _ask_for_missing(wanted: Fetch, places: list[Path]) -> None:
    """Raise if archives that only a person can get are not there, before anything is downloaded."""
    missing = [
        a.file for a in wanted.archives if not a.urls and not any((p / a.file).is_file() for p in places)
    ]
    if missing:
        where = " or ".join(str(place) for place in reversed(places))
        raise FetchError(f"put {', '.join(missing)} into {where}. {wanted.ask or ''}".rstrip())


def _locate(archive: Archive, attempts: int, places: list[Path]) -> Path:
    """Return an archive that is there, verified, or download it into the first of `places`.

    Raises:
        FetchError: a file that somebody put there is not the published one, or no address gave it.
    """
    wanted = _wanted(archive)
    for path in _paths(archive, places):
        if path.is_file():
            _verify(path, wanted, places[0])
            return path
    addresses = [url for url in archive.urls if url.startswith(WEB)]
    if not addresses:
        local = " and no ".join(url for url in archive.urls if not url.startswith(WEB))
        raise FetchError(f"{archive.file}: there is no {local}")
    target = places[0] / archive.file
    with _progress(f"downloading {archive.file}", archive.size) as report:
        download(addresses, target, wanted, attempts=attempts, report=report)
    _note_verified(target, wanted, places[0])
    return target


def _verify(path: Path, wanted: Wanted, downloads: Path) -> None:
    """Check a file, unless it was checked before and has not changed since.

    Raises:
        FetchError: it is not what was published.
    """
    if _read_notes(downloads).get(str(path)) == _state(path, wanted):
        return
    if defect := defect_of(path, wanted):
        raise FetchError(f"{path}: {defect}; remove it to download it anew")
    _note_verified(path, wanted, downloads)


def _state(path: Path, wanted: Wanted) -> list[Any]:
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns, wanted.size, wanted.digests]


def _read_notes(downloads: Path) -> dict[str, list[Any]]:
    try:
        notes = json.loads((downloads / VERIFIED).read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _note_verified(path: Path, wanted: Wanted, downloads: Path) -> None:
    notes = _read_notes(downloads) | {str(path): _state(path, wanted)}
    write_text(downloads / VERIFIED, json.dumps(notes, indent=1))


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar of bytes on a terminal, a line elsewhere; gives what is called with the bytes so far."""
    logger.info("%s", what)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _sum(report: Callable[[int], None]) -> Callable[[int], None]:
    """Turn sizes of members into the bytes so far."""
    total = 0

    def add(size: int) -> None:
        """Count one member."""
        nonlocal total
        total += size
        report(total)

    return add
