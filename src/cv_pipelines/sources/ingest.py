"""Reading a configured source: draw its sample if asked for, read it, or load what was read before."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cv_pipelines.config import SourceConfig
from cv_pipelines.data.inspection import checking
from cv_pipelines.data.parallel import running_on
from cv_pipelines.data.schema import Categories, Tables
from cv_pipelines.errors import SourceError
from cv_pipelines.provenance import Provenance, changed_keys, differences, digest, few
from cv_pipelines.provenance.code import code_of
from cv_pipelines.sources import READERS, reader
from cv_pipelines.sources.fetch import fetch, source_root

Folder = list[Any]
"""Number of files, bytes, digest; of a folder of few files also their names."""

NAMED = 50
"""Files up to which a folder's are named: such hold lists, archives, tables, which others depend on."""

NO_TABLE = ("cv_pipelines.config", "cv_pipelines.data.parallel", "cv_pipelines.errors")
"""Modules whose code changes no table that a reader gives."""

STAMP = "ingested.json"
NOTE = "sample.json"


def ingest(config: SourceConfig, store: Path) -> tuple[Tables, dict[str, Any]]:
    """Give the tables of a source.

    Args:
        config: the source.
        store: folder where the tables of an earlier ingest lie; they are loaded if neither the raw files
            (paths, sizes, times) nor the reader's options and code have changed since.

    Returns:
        The tables, and the stamp to keep beside them.

    Raises:
        SourceError: nothing usable lies under `config.root`.
        FetchError: it lies elsewhere and cannot be had.
    """
    root = fetch(config)
    began = time.perf_counter()
    if config.sample is not None and root is not None:
        draw_sample(config, root)
    folders = folders_of(root)
    facts = {
        "reader": config.reader,
        "options": options_of(config),
        "files": digest_of(folders),
        "code": reader_code(config.reader),
    }
    known = read_stamp(store) or {}
    tables = load_tables(store) if known | facts == known else None
    if tables is None or sorted(tables.arrays) != known.get("arrays"):
        tables = read_tables(config, root)
        known = {"seconds": round(time.perf_counter() - began, 3)}
    taken = {"seconds": known["seconds"]} if "seconds" in known else {}  # of the reading, not of a loading
    return tables, facts | {"folders": folders, "arrays": sorted(tables.arrays)} | taken


def options_of(config: SourceConfig) -> dict[str, Any]:
    """Return what a source's parameters say of how its files are read."""
    return config.options | ({"check": "headers"} if config.check == "headers" else {})


def reader_code(name: str) -> dict[str, str]:
    """Digest the code that reads a format, by module: other code may give other tables."""
    return code_of([READERS[name]], NO_TABLE)[0] if name in READERS else {}


def read_tables(config: SourceConfig, root: Path | None) -> Tables:
    """Read a source from `root` with its options, on its engine.

    Raises:
        SourceError: nothing usable lies there.
    """
    collects = gc.isenabled()
    gc.disable()  # of the millions of small objects that a reader makes none is part of a cycle
    try:
        with running_on(config.engine), checking(config.check):
            tables: Tables = reader(config.reader).read(root, **config.options)
    finally:
        if collects:
            gc.enable()
    return replace(tables, facts=tables.facts | ({"check": "headers"} if config.check == "headers" else {}))


def draw_sample(config: SourceConfig, root: Path) -> None:
    """Draw the configured sample under `root`, unless that very sample lies there already.

    Raises:
        SourceError: `root` holds files that are no drawn sample; they are left alone.
    """
    assert config.sample is not None
    wanted = config.sample.noted()
    note = root / NOTE
    if note.exists() and _read_json(note) == wanted:
        return
    if not note.exists() and root.exists() and any(root.iterdir()):
        raise SourceError(f"{root}: holds files, but no drawn sample; draw into a folder of its own")
    fresh = root.with_name(root.name + ".drawing")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    options = dict(wanted)
    if "size" in options:
        options["size"] = tuple(options["size"])
    reader(config.reader).write_sample(fresh, **options)
    (fresh / NOTE).write_text(json.dumps(wanted), encoding="utf8")
    shutil.rmtree(root, ignore_errors=True)
    fresh.rename(root)


def digest_of_files(root: Path | None) -> str:
    """Digest path, size and time of every file below a folder; the same while nothing there changes."""
    return digest_of(folders_of(root))


def digest_of(folders: dict[str, Folder]) -> str:
    """Digest what `folders_of` gave."""
    return digest({folder: facts[2] for folder, facts in folders.items()})


def folders_of(root: Path | None) -> dict[str, Folder]:
    """List the folders below a folder that hold files, itself as ".".

    Returns:
        Path from `root` to the number of files, their bytes, a digest of their names, sizes and times, and
        the names themselves where they are few.
    """
    found: dict[str, Folder] = {}
    for folder, folders, files in os.walk(root) if root else []:
        folders.sort()
        text, total = hashlib.blake2b(digest_size=8), 0
        for name in sorted(files):
            facts = os.stat(os.path.join(folder, name))
            text.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
            total += facts.st_size
        if files:
            few_names = [sorted(files)] if len(files) <= NAMED else []
            found[os.path.relpath(folder, root)] = [len(files), total, text.hexdigest(), *few_names]
    return found


def changes(then: dict[str, Any], config: SourceConfig) -> list[str]:
    """Say in words why the tables of an earlier ingest are not those of a source as it is now.

    Args:
        then: their stamp.
        config: the source; its files are looked at.
    """
    options = {"reader": config.reader, **options_of(config)}
    now = Provenance(parameters=options, code=reader_code(config.reader))
    options = {"reader": then.get("reader"), **then.get("options", {})}
    before = Provenance(parameters=options, code=then.get("code", {}))
    folders = folders_of(source_root(config))
    if "folders" in then:
        moved = [_told(one, then["folders"], folders) for one in changed_folders(then["folders"], folders)]
    else:
        moved = ["it was read by an earlier version of this project"]
    return [*few(moved), *differences(before, now)]


def changed_folders(then: dict[str, Folder], now: dict[str, Folder]) -> list[str]:
    """Return the folders whose files are not those of before, in order; both as `folders_of` gives them."""
    return changed_keys(*({name: facts[:3] for name, facts in one.items()} for one in (then, now)))


def _told(folder: str, then: dict[str, Folder], now: dict[str, Folder]) -> str:
    """Say what has changed in a folder: how many files are new or gone, or that some are others."""
    before, after = then.get(folder, [0])[0], now.get(folder, [0])[0]
    if before == after:
        return f"{folder}: files replaced or rewritten ({after:,} as before)"
    count = abs(after - before)
    return f"{folder}: {count:,} {'file' if count == 1 else 'files'} {'new' if after > before else 'gone'}"


def read_stamp(store: Path) -> dict[str, Any] | None:
    """Return the stamp of the tables in `store`, or None where there is none to trust."""
    stamp = _read_json(store / STAMP)
    return stamp if isinstance(stamp, dict) else None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return None


def load_tables(store: Path) -> Tables | None:
    """Load the tables of an earlier ingest, or None if one is missing or damaged."""
    try:
        frames = {
            n: pd.read_parquet(store / f"{n}.parquet") for n in ("samples", "annotations", "quarantine")
        }
        texts = {n: (store / f"{n}.json").read_text(encoding="utf8") for n in ("categories", "facts")}
        arrays = {p.stem: np.load(p, mmap_mode="r") for p in sorted((store / "arrays").glob("*.npy"))}
        categories = Categories.model_validate_json(texts["categories"])
        facts = json.loads(texts["facts"])
    except (OSError, ValueError):  # pyarrow's and pydantic's errors are ValueErrors
        return None
    return Tables(categories=categories, arrays=arrays, facts=facts, **frames)
