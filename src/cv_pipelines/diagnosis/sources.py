"""Which sources can be read."""

from __future__ import annotations

from pathlib import Path

from cv_pipelines.config import SourceConfig
from cv_pipelines.diagnosis.check import Check
from cv_pipelines.sources.fetch import source_root


def raw_folder(folder: Path, given: str | None) -> Check:
    """Check the folder of the raw data.

    Args:
        folder: of them.
        given: value of CV_PIPELINES_RAW; None if it is not set.
    """
    name = "CV_PIPELINES_RAW" if given else "CV_PIPELINES_RAW is not set, so"
    if folder.is_dir():
        return Check("raw data", "ok", f"{name} {folder}")
    return Check("raw data", "warn", f"{name} {folder}: no such folder", "export CV_PIPELINES_RAW=FOLDER")


def source(name: str, config: SourceConfig) -> Check:
    """Check whether a source's files are there, or where they would come from."""
    root, what = source_root(config), f"source {name}"
    if root is None:
        return Check(what, "ok", "comes with a package")
    if config.sample is not None:
        return Check(what, "ok", "is drawn")
    if root.is_dir() and any(root.iterdir()):
        return Check(what, "ok", str(root))
    if config.fetch is None:
        mend = f"put the data set into {root}, or export CV_PIPELINES_RAW=FOLDER"
        return Check(what, "warn", f"not there: {root}", mend)
    by_hand = [archive.file for archive in config.fetch.archives if not archive.urls]
    if by_hand:
        mend = f"put {', '.join(by_hand)} into {config.root}. {config.fetch.ask or ''}".rstrip()
        return Check(what, "warn", "not there, and its archives need a person", mend)
    sizes = [archive.size for archive in config.fetch.archives]
    size = f"{sum(filter(None, sizes)) / 1e9:.2f} GB" if all(sizes) else "of a size that is not published"
    return Check(what, "ok", f"not there; the first run fetches it ({size})", f"kedro cv raw {name}")
