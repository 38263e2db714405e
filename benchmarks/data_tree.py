"""A tree of ImageNet's size to a table: our reader against `torchvision.datasets.ImageFolder`.

1,000 folders of 1,281 empty files. Both list the tree and match each file with its class; ours also makes the
`samples` table. Files are not opened: ours is told what inspecting them would give.
`--share 0.1` makes a tenth of the tree.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from _harness import Row, in_turns, report

FOLDERS, FILES = 1000, 1281


def draw(root: Path, folders: int) -> None:
    """Make the training tree and its list of synsets."""
    wnids = [f"n{1440764 + 7 * k:08d}" for k in range(folders)]
    (root / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} a word, another\n" for wnid in wnids))
    for wnid in wnids:
        folder = root / "ILSVRC/Data/CLS-LOC/train" / wnid
        folder.mkdir(parents=True)
        for k in range(FILES):
            (folder / f"{wnid}_{k * 37}.JPEG").touch()


def ours(root: Path) -> int:
    """Read the tree into our tables; returns the number of images."""
    import numpy as np
    import pyarrow as pa

    from cv_pipelines.config import Engine, SourceConfig
    from cv_pipelines.data.inspection import Inspected
    from cv_pipelines.sources import labelled
    from cv_pipelines.sources.ingest import read_tables

    def stated(_: Path, paths: pa.ChunkedArray, __: object) -> Inspected:
        count = len(paths)
        return Inspected(np.arange(count), np.full(count, 500), np.full(count, 375), paths)

    labelled.scan_columns = stated  # type: ignore[assignment]
    config = SourceConfig(reader="imagenet", engine=Engine(workers=1))
    return len(read_tables(config, root).samples)


def image_folder(root: Path) -> int:
    """List the tree as torchvision does; returns the number of images."""
    from torchvision.datasets import ImageFolder

    return len(ImageFolder(root / "ILSVRC/Data/CLS-LOC/train").samples)


def main() -> None:
    """Run both sides and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0)
    share = parser.parse_args().share
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as tiny:
        draw(Path(folder), round(FOLDERS * share))
        draw(Path(tiny), 2)
        image_folder(Path(folder))  # the tree is in the cache of the file system for both
        mine, peer = in_turns((ours, image_folder), Path(folder), warm=(Path(tiny),))
    if mine.result != peer.result:
        raise SystemExit(f"ours has {mine.result} images, ImageFolder {peer.result}")
    what = f"a tree of {mine.result:,} images to a table"
    limit = 1000.0  # MB, whatever the peer takes
    rows = [
        Row(f"{what}: time", "s", mine.seconds, peer.seconds, "ImageFolder", 2.0),
        Row(f"{what}: peak memory", "MB", mine.megabytes, limit, "limit", 1.0),
    ]
    report("data_tree", rows)


if __name__ == "__main__":
    main()
