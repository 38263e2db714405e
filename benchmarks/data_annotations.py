"""COCO annotations to tables: our reader against pycocotools, on a drawn file of train2017's size.

Neither side opens an image: ours is given the sizes that the file states. `--share 0.1` draws a tenth of the
file.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from _harness import Row, in_turns, report

IMAGES, OBJECTS = 118_287, 860_001
FILE = "annotations/instances_train2017.json"


def draw(root: Path, share: float) -> None:
    """Write a file with polygons of 4 to 45 corners, every 86th object a crowd with run lengths."""
    rng = np.random.default_rng(0)
    images, objects = int(IMAGES * share), int(OBJECTS * share)
    (root / FILE).parent.mkdir()
    with (root / FILE).open("w") as file:
        file.write('{"info": {}, "licenses": [], "images": [')
        file.write(", ".join(json.dumps(image(i)) for i in range(1, images + 1)))
        file.write('], "annotations": [')
        for start in range(0, objects, 10_000):
            some = [record(k, rng, images) for k in range(start, min(start + 10_000, objects))]
            file.write((", " if start else "") + ", ".join(map(json.dumps, some)))
        classes = [{"supercategory": "any", "id": i, "name": f"class {i}"} for i in range(1, 91)]
        file.write(f'], "categories": {json.dumps(classes)}}}')


def image(number: int) -> dict[str, Any]:
    """Return an image record with all the keys that COCO's have."""
    name = f"{number:012d}.jpg"
    web = {"coco_url": f"images/train2017/{name}", "flickr_url": f"flickr/8186/{number}_4e622c8349_z.jpg"}
    taken = {"license": 3, "date_captured": "2013-11-14 11:18:45"}
    return {"id": number, "file_name": name, "height": 480, "width": 640, **web, **taken}


def record(number: int, rng: np.random.Generator, images: int) -> dict[str, Any]:
    """Return an object record."""
    crowd = number % 86 == 0
    x, y, w, h = np.round(rng.uniform(1, 200, 4), 2).tolist()
    corners = 2 * int(rng.integers(4, 46))
    shapes = [np.round(rng.uniform(0, 470, corners), 2).tolist() for _ in range(1 + (number % 9 == 0))]
    runs = rng.integers(1, 300, 60).tolist()
    mask = {"counts": [*runs, 640 * 480 - sum(runs)], "size": [480, 640]}
    return {
        **{"segmentation": mask if crowd else shapes, "area": round(0.6 * w * h, 4), "iscrowd": int(crowd)},
        **{"image_id": int(rng.integers(1, images + 1)), "bbox": [x, y, w, h]},
        **{"category_id": int(rng.integers(1, 91)), "id": number + 1},
    }


def ours(root: Path) -> int:
    """Read the file into our tables; returns the number of objects."""
    from cv_pipelines.config import Engine, SourceConfig
    from cv_pipelines.data.inspection import ImageInfo
    from cv_pipelines.sources import coco
    from cv_pipelines.sources.ingest import read_tables

    def stated(_: Path, wanted: Mapping[str, Any], __: Any) -> dict[str, ImageInfo]:
        return {k: ImageInfo(k, r.width, r.height, "RGB", "JPEG", k) for k, r in wanted.items()}

    coco.scan_images = stated  # type: ignore[assignment]
    config = SourceConfig(reader="coco", engine=Engine(workers=1))
    return len(read_tables(config, root).annotations)


def pycocotools(root: Path) -> int:
    """Read the file as pycocotools does; returns the number of objects."""
    from pycocotools.coco import COCO

    return len(COCO(str(root / FILE)).anns)


def main() -> None:
    """Run both sides and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0)
    share = parser.parse_args().share
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as tiny:
        draw(Path(folder), share)
        draw(Path(tiny), 0.0005)
        size = (Path(folder) / FILE).stat().st_size >> 20
        mine, peer = in_turns((ours, pycocotools), Path(folder), warm=(Path(tiny),), rounds=3)
    if mine.result != peer.result:
        raise SystemExit(f"ours has {mine.result} objects, pycocotools {peer.result}")
    what = f"COCO annotations ({mine.result:,} objects, {size} MB) to tables"
    rows = [
        Row(f"{what}: time", "s", mine.seconds, peer.seconds, "pycocotools", 2.0),
        Row(f"{what}: peak memory", "MB", mine.megabytes, peer.megabytes, "pycocotools", 3.0),
    ]
    report("data_annotations", rows)


if __name__ == "__main__":
    main()
