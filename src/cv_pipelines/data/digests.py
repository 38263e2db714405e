"""Digests of a source's content, a part each, so that what has changed can be named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from cv_pipelines.data.datasets import SourceData

OBJECT_COLUMNS = ["sample_id", "category", "x", "y", "w", "h", "iscrowd", "difficult"]


def digests_of(data: SourceData, masks: bool) -> dict[str, str]:
    """Digest the samples of each split, the class lists and the statistics.

    Args:
        data: a prepared source, all splits.
        masks: whether the files of target masks count; they are read.

    Returns:
        `data.<split>`, `classes` and `statistics` to 32 hexadecimal digits.
    """
    found = {
        f"data.{split}": _split(data.only(str(split)), masks) for split in sorted(set(data.samples["split"]))
    }
    found["classes"] = _hex(data.categories.model_dump_json())
    return found | {"statistics": _hex(json.dumps(data.statistics, sort_keys=True))}


def _split(part: SourceData, masks: bool) -> str:
    samples = part.samples
    text = samples_digest(samples)
    text += json.dumps([[int(label) for label in labels] for labels in samples["labels"]])
    drawn = ["segmentation"] if part.annotations["segmentation"].notna().any() else []
    text += str(pd.util.hash_pandas_object(part.annotations[[*OBJECT_COLUMNS, *drawn]], index=False).sum())
    poses = part.annotations["keypoints"]
    if poses.notna().any():
        text += json.dumps([list(map(float, p)) if isinstance(p, list | np.ndarray) else None for p in poses])
    return _hex(text + _masks(part)) if masks else _hex(text)


def _masks(part: SourceData) -> str:
    root, whole = Path(part.root or "."), hashlib.blake2b(digest_size=16)
    for target in part.samples["target"].dropna():
        path = root / target
        whole.update(path.read_bytes() if path.is_file() else b"missing")
    return whole.hexdigest()


def _hex(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def samples_digest(samples: pd.DataFrame) -> str:
    """Digest samples by their names and contents, in their order: 32 hex digits.

    Args:
        samples: rows of a manifest, such as those of one split.
    """
    rows = samples["sample_id"].astype(str) + "\0" + samples["content_hash"].astype(str) + "\n"
    return _hex("".join(rows))
