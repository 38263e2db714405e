"""Image files with one class each: what the ImageNet, image-folder and ORL readers share."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cv_pipelines.data.inspection import scan_columns
from cv_pipelines.data.schema import Quarantine, samples_frame
from cv_pipelines.errors import SourceError

TEXT, BYTES = pa.large_string(), pa.large_binary()
LISTERS, BATCH = 4, 16
"""Threads that list folders, and how many each takes at a time: a task costs as much as a small folder."""

Texts: TypeAlias = list[str] | pa.LargeStringArray


class Listing:
    """Image files that lists or folders name, with one class each; not yet looked at.

    Kept as Arrow's packed texts: a million files take some 200 MB, as objects they took gigabytes.
    """

    def __init__(self) -> None:
        self._ids: list[pa.LargeStringArray] = []
        self._media: list[pa.LargeStringArray] = []
        self._runs: list[tuple[int, str, int, str]] = []

    def add(self, sample_ids: Texts, media: Texts, split: str, label: int, group: str = "") -> None:
        """Append files of one split and class.

        Args:
            sample_ids: of the files, unique in the source.
            media: their paths relative to the source's root, in the same order.
            split: "train", "val" or "test", of all of them.
            label: contiguous class index of all of them.
            group: what must not be in two splits, of all of them; if empty, each is a group of its own.
        """
        self._ids.append(_packed(sample_ids))
        self._media.append(_packed(media))
        self._runs.append((len(media), split, label, group))

    @property
    def media(self) -> pa.ChunkedArray:
        """The paths of all files, in the order in which they were added."""
        return pa.chunked_array(self._media, TEXT)

    def columns(self, rows: np.ndarray) -> dict[str, Any]:
        """Return the columns of `samples` that are known of some files.

        Args:
            rows: (N,) int64, which of them, rising.
        """
        counts, splits, labels, groups = zip(*self._runs, strict=True)
        ids = pa.chunked_array(self._ids, TEXT)
        kept = list(counts)
        if len(rows) < len(ids):
            ids = ids.take(pa.array(rows))
            kept = np.diff(np.searchsorted(rows, [0, *np.cumsum(counts)])).tolist()
        group = ids
        if any(groups):
            named = _repeated(groups, kept)
            group = pc.if_else(pc.equal(named, ""), ids, named)
        lists = np.empty(max(labels) + 1, object)
        lists[:] = [[label] for label in range(len(lists))]
        return {
            "sample_id": pd.Series(ids, dtype="str"),
            "split": pd.Series(_repeated(splits, kept), dtype="str"),
            "group": pd.Series(group, dtype="str"),
            "labels": np.repeat(lists[list(labels)], kept),
        }


def _packed(texts: Texts) -> pa.LargeStringArray:
    try:
        return texts if isinstance(texts, pa.Array) else pa.array(texts, TEXT)
    except UnicodeEncodeError as error:
        raise SourceError(f"{error.object!r}: a file name that is not UTF-8; rename the file") from None


def _repeated(texts: Sequence[str], counts: Sequence[int]) -> pa.ChunkedArray:
    parts = [pa.repeat(pa.scalar(text, TEXT), n) for text, n in zip(texts, counts, strict=True)]
    return pa.chunked_array(parts, TEXT)


def packed_names(folder: Path, suffix: str) -> pa.LargeStringArray:
    """List the names in a folder that end in `suffix`, sorted; none where there is no such folder.

    Raises:
        SourceError: the folder cannot be read, or a name is not UTF-8.
    """
    try:
        listed = os.listdir(os.fsencode(folder))  # as bytes: texts take a quarter longer
    except (FileNotFoundError, NotADirectoryError):
        listed = []
    except OSError as error:
        raise SourceError(f"{folder}: {error.strerror}; expected a folder that can be read") from None
    try:
        names = pa.array(listed, BYTES).cast(TEXT)
    except pa.ArrowInvalid:
        names = _packed([os.fsdecode(name) for name in listed])  # says which is no UTF-8
    names = names.filter(pc.ends_with(names, suffix))
    return names.take(pc.sort_indices(names))


def packed_names_of(folders: Sequence[Path], suffix: str) -> Iterator[pa.LargeStringArray]:
    """As `packed_names` of each folder, in order; some at a time, for disk or network take most of it."""
    batches = [folders[start : start + BATCH] for start in range(0, len(folders), BATCH)]
    with ThreadPoolExecutor(LISTERS) as pool:
        for listed in pool.map(lambda some: [packed_names(one, suffix) for one in some], batches):
            yield from listed


def below(folder: str, names: pa.LargeStringArray) -> pa.LargeStringArray:
    """Return the paths of names in a folder."""
    return pc.binary_replace_slice(names.view(BYTES), 0, 0, f"{folder}/".encode()).view(TEXT)


def names_in(folder: Path, suffix: str) -> list[str]:
    """As `packed_names`, as a list."""
    names: list[str] = packed_names(folder, suffix).to_pylist()
    return names


def labelled_samples(root: Path, files: Listing, quarantine: Quarantine, expected: str) -> pd.DataFrame:
    """Look at each file and make the `samples` table of the usable ones, in the order given.

    Args:
        root: folder of the source.
        files: the files to look at.
        quarantine: where unusable files are recorded.
        expected: the layout in words, for the error message.

    Raises:
        SourceError: no file is usable.
    """
    found = scan_columns(root, files.media, quarantine)
    if not len(found.row):
        raise nothing_usable(root, quarantine, expected)
    media = files.media if len(found.row) == len(files.media) else files.media.take(pa.array(found.row))
    sizes = {"width": found.width, "height": found.height}
    hashes = pd.Series(found.content_hash, dtype="str")
    columns = files.columns(found.row) | sizes
    return samples_frame(columns | {"media": pd.Series(media, dtype="str"), "content_hash": hashes})


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
