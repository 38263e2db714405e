"""Which data something was made of, in one short text."""

from __future__ import annotations

import hashlib

import pandas as pd


def samples_digest(samples: pd.DataFrame) -> str:
    """Digest samples by their names and contents, in their order: 32 hex digits.

    Args:
        samples: rows of a manifest, such as those of one split.
    """
    rows = samples["sample_id"].astype(str) + "\0" + samples["content_hash"].astype(str) + "\n"
    return hashlib.blake2b("".join(rows).encode(), digest_size=16).hexdigest()
