"""Box files in PASCAL VOC's XML form, which VOC, ImageNet and Oxford-IIIT Pets share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from cv_pipelines.data.schema import Quarantine
from cv_pipelines.errors import BadSampleError


@dataclass(frozen=True)
class XmlBox:
    """One object: class name as in the file and a 0-based box (x, y, w, h) in pixels.

    `number` is the object's 1-based place in the file, which VOC's object masks refer to.
    """

    name: str
    x: float
    y: float
    w: float
    h: float
    difficult: bool
    number: int = field(default=0, compare=False)


def read_boxes(
    root: Path, path: str, size: tuple[int, int], quarantine: Quarantine, offset: int = 1
) -> list[XmlBox]:
    """Read the objects of one XML file.

    VOC's corners are pixel indices that count from 1 and are inclusive, so a box from 1 to W covers the
    whole width: x = xmin - offset, w = xmax - xmin + offset. This is the only place where that happens.

    Boxes without area are dropped, boxes that reach outside the image are cut to it; both get a row.

    Args:
        root: folder of the source.
        path: the XML file, relative to `root`.
        size: (width, height) of the image.
        quarantine: where defects are recorded.
        offset: 1 for 1-based inclusive corners (VOC, Pets), 0 for 0-based ones (ImageNet).

    Raises:
        BadSampleError: "missing file" or "unreadable XML".
    """
    try:
        tree = ElementTree.parse(root / path)
    except FileNotFoundError:
        raise BadSampleError("missing file", f"expected a box file at {path}") from None
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        raise BadSampleError("unreadable XML", str(error)) from None
    nodes = enumerate(tree.iter("object"), start=1)
    boxes = (_box(node, path, size, quarantine, offset) for node in nodes)
    return [box for box in boxes if box is not None]


def _box(
    numbered: tuple[int, ElementTree.Element],
    path: str,
    size: tuple[int, int],
    quarantine: Quarantine,
    offset: int,
) -> XmlBox | None:
    number, node = numbered
    name = (node.findtext("name") or "").strip()
    try:
        corners = [float(node.findtext(f"bndbox/{k}") or "") for k in ("xmin", "ymin", "xmax", "ymax")]
    except ValueError:
        corners = [math.nan]
    if not all(map(math.isfinite, corners)):
        quarantine.drop(path, "unreadable box", f"object {name!r}: a corner is missing or not a number")
        return None
    xmin, ymin, xmax, ymax = corners
    if xmin >= xmax or ymin >= ymax:
        quarantine.drop(path, "box without area", f"{name}: xmin {xmin} ymin {ymin} xmax {xmax} ymax {ymax}")
        return None
    left, top = max(xmin - offset, 0.0), max(ymin - offset, 0.0)
    right, bottom = min(xmax, float(size[0])), min(ymax, float(size[1]))
    if right <= left or bottom <= top:
        quarantine.drop(path, "box outside image", f"{name}: {corners} in {size[0]}×{size[1]}")
        return None
    if xmin < offset or ymin < offset or xmax > size[0] or ymax > size[1]:
        quarantine.repair(path, "box outside image", f"{name}: {corners} cut to {size[0]}×{size[1]}")
    difficult = (node.findtext("difficult") or "").strip() == "1"
    return XmlBox(name, left, top, right - left, bottom - top, difficult, number)


def write_boxes(
    path: Path,
    boxes: Sequence[XmlBox],
    *,
    folder: str,
    filename: str,
    size: tuple[int, int],
    offset: int = 1,
    segmented: bool = False,
) -> None:
    """Write one XML file in VOC's form: the inverse of `read_boxes` for boxes of whole pixels.

    Args:
        path: the file to write.
        boxes: the objects, in order.
        folder: what `<folder>` says, such as "VOC2012".
        filename: what `<filename>` says.
        size: (width, height) of the image.
        offset: 1 for 1-based inclusive corners (VOC, Pets), 0 for 0-based ones (ImageNet).
        segmented: whether the image has masks.
    """
    top = ElementTree.Element("annotation")
    _add(top, {"folder": folder, "filename": filename})
    _add(ElementTree.SubElement(top, "size"), {"width": size[0], "height": size[1], "depth": 3})
    _add(top, {"segmented": int(segmented)})
    for box in boxes:
        node = ElementTree.SubElement(top, "object")
        _add(node, {"name": box.name, "pose": "Unspecified", "truncated": 0, "difficult": int(box.difficult)})
        low = {"xmin": box.x + offset, "ymin": box.y + offset}
        high = {"xmax": box.x + box.w, "ymax": box.y + box.h}
        _add(ElementTree.SubElement(node, "bndbox"), {k: int(v) for k, v in {**low, **high}.items()})
    ElementTree.indent(top, "\t")
    path.write_bytes(ElementTree.tostring(top) + b"\n")


def _add(node: ElementTree.Element, values: Mapping[str, str | int]) -> None:
    for key, value in values.items():
        ElementTree.SubElement(node, key).text = str(value)
