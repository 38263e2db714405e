"""The steps of a source: are its tables those of its files, its code and its parameters as they are now?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from cv_pipelines.config import SourceConfig
from cv_pipelines.planning.steps import Step, judged
from cv_pipelines.provenance import Provenance, differences, few
from cv_pipelines.sources.fetch import source_root
from cv_pipelines.sources.ingest import NOTE, Folder, changed_folders, changes, folders_of, read_stamp
from cv_pipelines.sources.preparation import preparation

READ = ("samples.parquet", "annotations.parquet", "quarantine.parquet", "categories.json", "facts.json")
PREPARED = ("manifest.parquet", "statistics.json", "measures.parquet", "facts.json", "verdict.json")


def source_steps(name: str, config: SourceConfig, data: Path) -> list[Step]:
    """Plan reading and preparing a source.

    Args:
        name: of the source.
        config: its parameters.
        data: the project's data folder.
    """
    tables, prepared = data / "02_intermediate" / name, data / "05_model_input" / name
    missing = missing_files(config)
    stale = [] if missing else reading_is_stale(config, tables)
    seconds = (read_stamp(tables) or {}).get("seconds")
    read = Step(
        name,
        "read_source",
        state="missing" if missing else "run" if stale else "fresh",
        reasons=missing or stale,
        gone=gone_files(config, tables) if stale else [],
        disk=disk_of(config, tables),
        seconds=seconds,
        basis="as when it was read last" if seconds else "",
    )
    state, reasons = judged(preparing_is_stale(config, tables, prepared), [read])
    return [read, Step(name, "prepare", state=state, reasons=reasons, disk=size_of(prepared) or None)]


def missing_files(config: SourceConfig) -> list[str]:
    """Name what has to be provided before a source can be read."""
    root = source_root(config)
    if config.sample is not None or root is None or root.is_dir():
        return []
    if config.fetch is None:
        return [f"no folder {root}; does CV_PIPELINES_RAW name the raw data?"]
    places = [root.with_name(root.name + ".downloads"), *([Path(config.root)] if config.root else [])]
    return [
        f"put {archive.file} into {places[-1]}. {config.fetch.ask or ''}".rstrip()
        for archive in config.fetch.archives
        if not archive.urls and not any((place / archive.file).is_file() for place in places)
    ]


def gone_files(config: SourceConfig, tables: Path) -> list[str]:
    """Name the files that a source was read from before and that are gone.

    In folders of few files those of any kind, in others the samples' own.

    Args:
        config: the source.
        tables: as it was read.
    """
    stamp, root = read_stamp(tables), source_root(config)
    if stamp is None or root is None or config.sample is not None:
        return []
    then, now = stamp.get("folders", {}), folders_of(root)
    changed = changed_folders(then, now)
    named = [os.path.normpath(f"{folder}/{file}") for folder in changed for file in _names(then, folder)]
    large = {folder for folder in changed if folder in then and not _names(then, folder)}
    lost = [file for file in [*named, *_media(tables, large)] if not (root / file).exists()]
    return few([f"{root / file} is gone since it was read" for file in lost])


def _names(folders: dict[str, Folder], folder: str) -> list[str]:
    return next(iter(folders.get(folder, [])[3:]), [])


def _media(tables: Path, folders: set[str]) -> list[str]:
    """Return the files of samples that lie in some folders."""
    if not folders:
        return []
    try:
        samples = pd.read_parquet(tables / "samples.parquet", columns=["media", "target"])
    except (OSError, ValueError):
        return []
    files = pd.concat([samples["media"], samples["target"]]).dropna().unique()
    return sorted(file for file in files if (os.path.dirname(file) or ".") in folders)


def disk_of(config: SourceConfig, tables: Path) -> int | None:
    """Return the bytes that reading a source writes: archives, what is in them, tables as large as before.

    Args:
        config: the source.
        tables: folder of those of before.

    Returns:
        None where that is not known: nothing was read before, or the archives' sizes are not published.
    """
    root, before = source_root(config), size_of(tables)
    if config.fetch is None or root is None or root.is_dir():
        return before or None
    sizes = [archive.size for archive in config.fetch.archives]
    return 2 * sum(filter(None, sizes)) + before if all(sizes) else None


def reading_is_stale(config: SourceConfig, tables: Path) -> list[str]:
    """Say why the tables in a folder are not those of a source as it is now."""
    stamp, root = read_stamp(tables), source_root(config)
    if config.sample is not None and root is not None:
        wanted = config.sample.noted()
        drawn = _json(root / NOTE)
        if drawn is None:
            return ["its sample is not drawn yet"]
        if drawn != wanted:
            return [
                f"its sample changes: `{key}` {drawn.get(key)} → {wanted.get(key)}"
                for key in {**drawn, **wanted}
                if drawn.get(key) != wanted.get(key)
            ]
    if root is not None and not root.is_dir():
        return ["its files are not fetched yet"]
    if stamp is None:
        return ["not read yet"]
    gone = [f"{file} is gone" for file in READ if not (tables / file).exists()]
    return gone or [f"source changed: {one}" for one in changes(stamp, config)]


def preparing_is_stale(config: SourceConfig, tables: Path, prepared: Path) -> list[str]:
    """Say why the prepared tables are not those of the tables as read and the parameters as they are now."""
    if not any((prepared / file).exists() for file in PREPARED):
        return ["not prepared yet"]
    gone = [f"{file} is gone" for file in PREPARED if not (prepared / file).exists()]
    if gone:
        return gone
    known = (_json(prepared / "verdict.json") or {}).get("provenance")
    if known is None:
        return ["prepared by an earlier version of this project"]
    told = differences(Provenance.model_validate(known), preparation(config))
    return told or ([] if _same_samples(tables, prepared) else ["the tables were read anew since"])


def _same_samples(tables: Path, prepared: Path) -> bool:
    columns = ["sample_id", "content_hash"]
    try:
        one, other = (
            pd.read_parquet(path, columns=columns)
            for path in (tables / "samples.parquet", prepared / "manifest.parquet")
        )
    except (OSError, ValueError):
        return False
    return bool(one.equals(other))


def size_of(path: Path) -> int:
    """Return the bytes of a file or of all files below a folder; 0 if there is none."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return None
