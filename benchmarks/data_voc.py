"""VOC's XML files to tables on one core: our reader against the ElementTree loop of torchvision.

20,000 files of one to six objects, some with parts, in VOC2012's form. Images are not opened: ours is told
their sizes. The peer makes the nested dicts that `torchvision.datasets.VOCDetection` gives.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from _harness import Row, in_turns, report

FILES = 20_000
NAMES = ("person", "car", "dog", "chair", "bottle")


def draw(root: Path, files: int) -> None:
    """Write the release: lists and XML files."""
    rng = np.random.default_rng(0)
    base = root / "VOCdevkit/VOC2012"
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (base / name).mkdir(parents=True)
    stems = [f"2008_{k:06d}" for k in range(files)]
    (base / "ImageSets/Main/train.txt").write_text("\n".join(stems))
    (base / "ImageSets/Main/val.txt").write_text("")
    for stem in stems:
        objects = "".join(_object(rng) for _ in range(int(rng.integers(1, 7))))
        (base / f"Annotations/{stem}.xml").write_text(
            f"<annotation>\n\t<folder>VOC2012</folder>\n\t<filename>{stem}.jpg</filename>\n\t<source>\n"
            "\t\t<database>The VOC2008 Database</database>\n\t\t<annotation>PASCAL VOC2008</annotation>\n"
            "\t\t<image>flickr</image>\n\t</source>\n\t<size>\n\t\t<width>500</width>\n\t\t<height>442</height>\n"
            f"\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n{objects}</annotation>\n"
        )


def _object(rng: np.random.Generator) -> str:
    part = f"\t\t<part>\n\t\t\t<name>head</name>\n{_box(rng, 3)}\t\t</part>\n" if rng.random() < 0.2 else ""
    return (
        f"\t<object>\n\t\t<name>{NAMES[rng.integers(5)]}</name>\n\t\t<pose>Left</pose>\n"
        "\t\t<truncated>1</truncated>\n\t\t<occluded>0</occluded>\n"
        f"{_box(rng, 2)}\t\t<difficult>0</difficult>\n{part}\t</object>\n"
    )


def _box(rng: np.random.Generator, depth: int) -> str:
    (x, y), (w, h) = rng.integers(1, 250, 2), rng.integers(5, 190, 2)
    tabs = "\t" * depth
    values = {"xmin": x, "ymin": y, "xmax": x + w, "ymax": y + h}
    inner = "".join(f"{tabs}\t<{key}>{value}</{key}>\n" for key, value in values.items())
    return f"{tabs}<bndbox>\n{inner}{tabs}</bndbox>\n"


def ours(root: Path) -> int:
    """Read the release into our tables; returns the number of objects."""
    from cv_pipelines.config import Engine, SourceConfig
    from cv_pipelines.data.inspection import ImageInfo
    from cv_pipelines.sources import voc
    from cv_pipelines.sources.ingest import read_tables

    def stated(_: Path, wanted: Iterable[str], __: object) -> dict[str, ImageInfo]:
        return {path: ImageInfo(path, 500, 442, "RGB", "JPEG", path[-32:]) for path in wanted}

    voc.scan_images = stated  # type: ignore[assignment]
    config = SourceConfig(reader="voc", engine=Engine(workers=1))
    return len(read_tables(config, root).annotations)


def torchvision(root: Path) -> int:
    """Parse every file as torchvision does; returns the number of objects."""
    from torchvision.datasets import VOCDetection

    paths = sorted((root / "VOCdevkit/VOC2012/Annotations").iterdir())
    parse = VOCDetection.parse_voc_xml
    found = [parse(ElementTree.parse(path).getroot()) for path in paths]
    return sum(len(record["annotation"]["object"]) for record in found)


def main() -> None:
    """Run both sides and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=FILES)
    files = parser.parse_args().files
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as tiny:
        draw(Path(folder), files)
        draw(Path(tiny), 20)
        mine, peer = in_turns((ours, torchvision), Path(folder), warm=(Path(tiny),))
    if mine.result != peer.result:
        raise SystemExit(f"ours has {mine.result} objects, torchvision {peer.result}")
    what = f"VOC: {files:,} XML files, {mine.result:,} objects, to tables"
    report("data_voc", [Row(what, "s", mine.seconds, peer.seconds, "torchvision's loop", 2.0)])


if __name__ == "__main__":
    main()
