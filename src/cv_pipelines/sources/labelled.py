"""Image files with one class each: what the ImageNet, image-folder and ORL readers share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cv_pipelines.data.images import scan_images
from cv_pipelines.data.schema import Quarantine
from cv_pipelines.errors import SourceError


@dataclass(frozen=True)
class LabelledFile:
    """An image file that a list or a folder names, not yet looked at.

    Attributes:
        sample_id: unique in the source.
        media: path relative to the source's root.
        split: "train", "val" or "test".
        label: contiguous class index.
        group: what must not be in two splits; the sample itself if empty.
    """

    sample_id: str
    media: str
    split: str
    label: int
    group: str = ""


def labelled_rows(
    root: Path, files: Iterable[LabelledFile], quarantine: Quarantine, expected: str
) -> list[dict[str, Any]]:
    """Look at each file and make the `samples` rows of the usable ones, in the order given.

    Args:
        root: folder of the source.
        files: the files to look at.
        quarantine: where unusable files are recorded.
        expected: the layout in words, for the error message.

    Raises:
        SourceError: no file is usable.
    """
    listed = list(files)
    infos = scan_images(root, [file.media for file in listed], quarantine)
    rows = [
        {
            "sample_id": file.sample_id,
            "media": file.media,
            "split": file.split,
            "group": file.group or file.sample_id,
            "width": infos[file.media].width,
            "height": infos[file.media].height,
            "labels": [file.label],
            "content_hash": infos[file.media].content_hash,
        }
        for file in listed
        if file.media in infos
    ]
    if not rows:
        raise nothing_usable(root, quarantine, expected)
    return rows


def nothing_usable(root: Path, quarantine: Quarantine, expected: str) -> SourceError:
    """Make the error for a source of which nothing is left: what was expected and the first defects met."""
    defects = "; ".join(f"{row['file']}: {row['reason']}" for row in quarantine.rows[:3])
    return SourceError(
        f"{root}: nothing usable; expected {expected}" + (f" (found {defects})" if defects else "")
    )


def first_synonyms(words: dict[str, str]) -> list[str]:
    """Name synsets by their first word.

    WordNet's words repeat (ImageNet has two synsets "crane"); those names get the id in brackets, since
    scores are reported by name.

    Args:
        words: synset id to its comma separated words.

    Returns:
        Names in the order of `words`, all different.
    """
    names = {wnid: text.split(",")[0].strip() or wnid for wnid, text in words.items()}
    counts = Counter(names.values())
    return [name if counts[name] == 1 else f"{name} ({wnid})" for wnid, name in names.items()]
