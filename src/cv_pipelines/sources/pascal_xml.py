"""Box files in PASCAL VOC's XML form, which VOC, ImageNet and Oxford-IIIT Pets share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias
from xml.etree import ElementTree

from lxml import etree

from cv_pipelines.data.inspection import read_file
from cv_pipelines.data.parallel import in_parallel
from cv_pipelines.data.schema import Quarantine
from cv_pipelines.errors import BadSampleError


class XmlBox(NamedTuple):
    """One object: class name as in the file and a 0-based box (x, y, w, h) in pixels.

    `number` is the object's 1-based place in the file, which VOC's object masks refer to.
    """

    name: str
    x: float
    y: float
    w: float
    h: float
    difficult: bool
    number: int = 0


BoxFile: TypeAlias = tuple[str, tuple[int, int]]
"""A box file, relative to the source's root, and the (width, height) of its image."""

_PARSER = etree.XMLParser(
    resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True, remove_blank_text=True
)


def read_box_files(
    root: Path, files: Sequence[BoxFile], quarantine: Quarantine, *, offset: int = 1, remark: str = ""
) -> Iterator[list[XmlBox] | None]:
    """Read many XML files, in parallel; see `read_boxes`.

    Args:
        root: folder of the source.
        files: what to read.
        quarantine: where defects are recorded.
        offset: 1 for 1-based inclusive corners (VOC, Pets), 0 for 0-based ones (ImageNet).
        remark: what an unusable file means, said in its row.

    Yields:
        The objects of each file, in the order given; None for an unusable file.
    """
    results = in_parallel(partial(_attempt, root, offset, remark), files, "Reading box files")
    for boxes, defects in results:
        quarantine.extend(defects)
        yield boxes


def _attempt(root: Path, offset: int, remark: str, file: BoxFile) -> tuple[list[XmlBox] | None, Quarantine]:
    defects = Quarantine()
    path, size = file
    try:
        return read_boxes(root, path, size, defects, offset), defects
    except BadSampleError as error:
        defects.drop(path, error.reason, error.detail + remark)
        return None, defects


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
        BadSampleError: "missing file", "unreadable file", "empty file" or "unreadable XML".
    """
    try:
        tree = etree.fromstring(read_file(root, path), _PARSER)
    except etree.XMLSyntaxError as error:
        raise BadSampleError("unreadable XML", str(error)) from None
    nodes = enumerate(tree.iterchildren("object"), start=1)
    boxes = [_box(number, node, path, size, quarantine, offset) for number, node in nodes]
    return [box for box in boxes if box is not None]


def _box(
    number: int,
    node: etree._Element,
    path: str,
    size: tuple[int, int],
    quarantine: Quarantine,
    offset: int,
) -> XmlBox | None:
    fields = {child.tag: child for child in node}  # a search for each takes three times as long
    name = _text(fields.get("name"))
    corners = _corners(fields.get("bndbox"))
    if corners is None:
        quarantine.drop(path, "unreadable box", f"object {name!r}: a corner is missing or not a number")
        return None
    xmin, ymin, xmax, ymax = corners
    difficult = _text(fields.get("difficult")) == "1"
    if offset <= xmin < xmax <= size[0] and offset <= ymin < ymax <= size[1]:
        left, top = xmin - offset, ymin - offset
        return XmlBox(name, left, top, xmax - left, ymax - top, difficult, number)
    if xmin >= xmax or ymin >= ymax:
        quarantine.drop(path, "box without area", f"{name}: xmin {xmin} ymin {ymin} xmax {xmax} ymax {ymax}")
        return None
    left, top = max(xmin - offset, 0.0), max(ymin - offset, 0.0)
    right, bottom = min(xmax, float(size[0])), min(ymax, float(size[1]))
    if right <= left or bottom <= top:
        quarantine.drop(path, "box outside image", f"{name}: {list(corners)} in {size[0]}×{size[1]}")
        return None
    quarantine.repair(path, "box outside image", f"{name}: {list(corners)} cut to {size[0]}×{size[1]}")
    return XmlBox(name, left, top, right - left, bottom - top, difficult, number)


def _text(node: etree._Element | None) -> str:
    return "" if node is None else (node.text or "").strip()


def _corners(node: etree._Element | None) -> tuple[float, float, float, float] | None:
    """Return xmin, ymin, xmax, ymax as they stand in the file, or None if one is missing or not finite."""
    texts = {} if node is None else {child.tag: child.text or "" for child in node}
    try:
        corners = (float(texts["xmin"]), float(texts["ymin"]), float(texts["xmax"]), float(texts["ymax"]))
    except (KeyError, ValueError):
        return None
    return corners if all(map(math.isfinite, corners)) else None


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
