"""Damage that keeps a file's form and breaks its meaning, drawn by hypothesis.

JSON values of another type or size, XML with entities, lists in other encodings, images of another mode or
size, masks with unknown values, headers that lie, and names that are no files.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from fuzzing.damage import ODD, Damage

Draw = Callable[[st.SearchStrategy[Any]], Any]

RAW = "@raw@"
"""Stands for a value that is written as it is into JSON: some of what is tried, `json` would not write."""

NUMBERS = st.one_of(
    st.sampled_from(
        [
            "0",
            "-1",
            "-0",
            "1.5",
            "1e999",
            "-1e999",
            "1e300",
            "1e40",
            "1e-999",
            "NaN",
            "Infinity",
            "1_0",
            "0x1",
            "+1",
        ]
    ),
    st.sampled_from(
        ["²", "٣", "１", "2147483648", "4294967296", "9223372036854775808", "1" + "0" * 400, "9" * 5000]
    ),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(repr),
)
TEXTS = st.one_of(
    st.sampled_from(
        ["", " ", ".", "..", "../x", "/", "a/b", "a\\b", "\0", "n00000000", "con", "%s", "x" * 5000]
    ),
    st.sampled_from(
        ["\ufeff", "\u2028", "\x85", "\x1c", "e\u0301", "\U0001f600", "'", '"', "<", "&", "]]>", "#", ","]
    ),
    st.text(max_size=12),
    NUMBERS,
)
SIMPLE_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
JSON_TEXTS = st.one_of(
    SIMPLE_JSON.map(json.dumps),
    TEXTS.map(json.dumps),
    NUMBERS,
    st.sampled_from(
        ['"\\ud800"', '{"a": 1, "a": 2}', "[" * 300 + "]" * 300, "[" * 50000 + "]" * 50000, "[1]", "{}"]
    ),
    st.sampled_from([json.dumps("x" * 100_000), "[" + "0," * 20000 + "0]", "true", '["a", "b", "c", "d"]']),
)


@st.composite
def damages(draw: Draw, files: Sequence[Path]) -> Damage:
    """Draw damage to one file of a data set."""
    path = draw(st.sampled_from(files))
    if draw(st.integers(0, 9)) == 0:
        return _odd_place(draw, path)
    data = path.read_bytes()
    kinds = {
        ".json": _json,
        ".xml": _xml,
        ".txt": _lines,
        ".csv": _lines,
        ".gz": _idx,
        "": _idx,
        ".tar": _binary,
        ".mat": _binary,
    }
    return {path: kinds.get(path.suffix, _image)(draw, data)}


def _odd_place(draw: Draw, path: Path) -> Damage:
    """Draw something that is no file in a file's place, or the file under another name."""
    if draw(st.booleans()):
        return {path: draw(st.sampled_from(ODD))}
    name = draw(TEXTS).replace("/", "").replace("\0", "") or "x"
    stem = draw(
        st.sampled_from([name[:80], f"{path.stem} ", f"-{path.stem}", f"{path.stem}\n", path.stem.swapcase()])
    )
    odd = draw(st.sampled_from(["", "\udcff"]))  # a byte that is no UTF-8
    end = draw(st.sampled_from([path.suffix, path.suffix.swapcase(), ""]))
    name = f"{stem}{odd}{end}"
    other = path.parent / name
    if other == path or name in {".", ".."}:
        return {path: "nothing"}
    return {path: "nothing", other: path.read_bytes()}


def _binary(draw: Draw, data: bytes) -> bytes:
    at, field = draw(st.integers(0, len(data))), draw(st.binary(max_size=12))
    return data[:at] + field + data[at + len(field) * draw(st.integers(0, 1)) :]


def _json(draw: Draw, data: bytes) -> bytes:
    document = json.loads(data)
    place, key = document, draw(st.sampled_from(sorted(document)))
    while draw(st.integers(0, 4)) and isinstance(place[key], dict | list) and place[key]:
        place = place[key]
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = draw(st.sampled_from(keys))
    match draw(st.integers(0, 5)):
        case 0:
            del place[key]
        case 1 if isinstance(place, list):
            place.append(place[key])
        case 2 if isinstance(place, dict):
            place[draw(TEXTS)] = place.pop(key)
        case _:
            place[key] = RAW
    text = json.dumps(document).replace(f'"{RAW}"', draw(JSON_TEXTS))
    return _encoded(draw, text)


def _encoded(draw: Draw, text: str) -> bytes:
    usual = draw(st.integers(0, 9))
    form = (
        draw(st.sampled_from(["utf-8-sig", "utf-16", "utf-32-le", "latin-1", "cp037"]))
        if not usual
        else "utf-8"
    )
    return text.encode(form, "surrogatepass" if form.startswith("utf") else "replace")


ENTITIES = (
    '<!DOCTYPE a [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{k + 1} "{f"&a{k};" * 10}">' for k in range(12))
    + "]>",
    '<!DOCTYPE a [<!ENTITY a12 SYSTEM "file:///etc/hostname">]>',
    '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd">',
    '<?xml version="1.0" encoding="utf-16"?>',
    '<?xml version="1.0" encoding="nonsense"?>',
    '<?xml version="1.1"?>',
)
XML_PIECES = st.one_of(
    st.sampled_from(
        ["&a12;", "&#0;", "&#xD800;", "&amp;", "<!-- x -->", "<?x y?>", "<![CDATA[1]]>", "<x:y/>", "</x>"]
    ),
    st.sampled_from(
        ["<a>" * 300 + "</a>" * 300, "<a>" * 50000, "<a b='c' b='d'/>", "<a xmlns='u:v'>1</a>", "<object/>"]
    ),
    TEXTS,
)


def _xml(draw: Draw, data: bytes) -> bytes:
    text = data.decode()
    found = list(re.finditer(r"<(\w+)>([^<]*)</\1>", text)) or [re.match("", text)]
    match = draw(st.sampled_from(found))
    start, stop = match.span(2) if match.re.groups else (0, 0)
    whole = match.group()
    match draw(st.integers(0, 4)):
        case 0:
            text = text[: match.start()] + text[match.end() :]
        case 1:
            text = text[: match.start()] + whole * draw(st.integers(2, 3)) + text[match.end() :]
        case 2:
            text = text[: match.start()] + draw(XML_PIECES) + text[match.end() :]
        case _:
            text = text[:start] + draw(XML_PIECES) + text[stop:]
    head = draw(st.sampled_from(ENTITIES)) if draw(st.integers(0, 2)) == 0 else ""
    return _encoded(draw, head + text)


def _lines(draw: Draw, data: bytes) -> bytes:
    lines = data.decode().splitlines() or [""]
    row = draw(st.integers(0, len(lines) - 1))
    words = re.split(r"([\s,]+)", lines[row])
    match draw(st.integers(0, 6)):
        case 0:
            lines.insert(row, draw(TEXTS))
        case 1:
            del lines[row]
        case 2:
            lines.append(lines[row])
        case 3:
            lines[row] += draw(st.sampled_from([" ", "\t", ","])) + draw(TEXTS)
        case 4:
            del words[draw(st.integers(0, len(words) - 1))]
            lines[row] = "".join(words)
        case _:
            words[draw(st.integers(0, len(words) - 1))] = draw(TEXTS)
            lines[row] = "".join(words)
    ends = draw(st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", "\n\n", "\x85", "\u2028"]))
    return _encoded(draw, ends.join(lines) + draw(st.sampled_from([ends, "", " ", "\0"])))


def _idx(draw: Draw, data: bytes) -> bytes:
    content = gzip.decompress(data) if (packed := data[:2] == b"\x1f\x8b") else data
    fields = list(struct.unpack(">4I", content[:16])) if len(content) >= 16 else [0] * 4
    edge = st.sampled_from([0, 1, 2, 11, 12, 13, 255, 2**31, 2**31 - 1, 2**32 - 1, 2**16, 2049, 2051])
    for at in draw(st.lists(st.integers(0, 3), max_size=3)):
        fields[at] = draw(edge)
    content = struct.pack(">4I", *fields) + content[16 : draw(st.sampled_from([None, None, None, 16, 17]))]
    if not packed:
        return content
    again = gzip.compress(content, compresslevel=1, mtime=0)
    odd = [again + again, again + b"\0" * 8, again + b"x", again[:-4] + b"0000", content]
    return draw(st.sampled_from([again, again, again, *odd]))


MODES = ("L", "RGB", "RGBA", "P", "1", "LA", "I;16", "I", "F", "CMYK", "YCbCr", "LAB", "HSV", "PA")
FORMATS = (
    "PNG",
    "JPEG",
    "GIF",
    "BMP",
    "TIFF",
    "PPM",
    "WEBP",
    "ICO",
    "TGA",
    "JPEG2000",
    "PCX",
    "SGI",
    "DDS",
    "EPS",
)


def _image(draw: Draw, data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        kept, form = image.copy(), image.format or "PNG"
    match draw(st.integers(0, 4)):
        case 0:
            return _lying_png(draw, kept)
        case 1:
            size = draw(
                st.sampled_from([(1, 1), (1, 40), kept.size[::-1], (kept.width + 1, kept.height), (700, 3)])
            )
            return _saved(kept.resize(size, Image.Resampling.NEAREST), form)
        case 2:
            return _saved(_with_values(draw, kept), form)
        case 3:
            return _with_notes(draw, kept, form)
        case _:
            mode = draw(st.sampled_from(MODES))
            try:
                kept = kept.convert(mode)
            except ValueError:  # not every mode can be had from every other
                kept = Image.new(mode, kept.size)
            return _saved(kept, draw(st.sampled_from([form, *FORMATS])))


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    try:
        image.save(stream, form, **options)
    except (OSError, KeyError, ValueError):  # not every format takes every mode
        stream = io.BytesIO()
        image.convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def _with_values(draw: Draw, image: Image.Image) -> Image.Image:
    """Put a value or two into an image, as a mask may hold that no class has."""
    values = np.array(image)
    for _ in range(draw(st.integers(1, 2))):
        row, column = draw(st.integers(0, image.height - 1)), draw(st.integers(0, image.width - 1))
        values[row, column] = draw(st.integers(0, 255 if values.dtype == np.uint8 else 1))
    changed = Image.fromarray(values)
    if image.mode == "P":
        changed.putpalette(image.getpalette() or [0, 0, 0])
    return changed


def _with_notes(draw: Draw, image: Image.Image, form: str) -> bytes:
    """Save an image with an orientation, as an animation, interlaced, or with transparency."""
    exif = Image.Exif()
    exif[0x0112] = draw(st.sampled_from([0, 1, 3, 6, 8, 9, 65535]))
    match draw(st.integers(0, 3)):
        case 0:
            return _saved(image.convert("RGB"), "JPEG", exif=exif, progressive=True)
        case 1:
            return _saved(image, form, exif=exif.tobytes()[: draw(st.integers(0, 40))])
        case 2:
            return _saved(
                image.convert("RGB"),
                draw(st.sampled_from(["GIF", "WEBP", "TIFF"])),
                save_all=True,
                append_images=[image.convert("RGB")],
            )
        case _:
            return _saved(
                image.convert("P"),
                "PNG",
                transparency=draw(st.integers(0, 255)),
                bits=draw(st.sampled_from([1, 2, 4, 8])),
            )


def _lying_png(draw: Draw, image: Image.Image) -> bytes:
    """Give a PNG whose header, sum of which is right, says another size, depth or colour type."""
    data = _saved(image.convert("RGB"), "PNG")
    edge = st.sampled_from([0, 1, 2, 3, 8, 16, 255])
    sides = st.sampled_from([0, 1, image.width, image.height, 5000, 2**15, 2**31 - 1, 2**31, 2**32 - 1])
    fields = [draw(sides), draw(sides), *(draw(edge) for _ in range(5))]
    if draw(st.booleans()):
        fields[2:] = [8, draw(st.sampled_from([0, 2, 3, 4, 6])), 0, 0, draw(st.sampled_from([0, 1]))]
    header = b"IHDR" + struct.pack(">2I5B", *fields)
    chunk = draw(
        st.sampled_from(
            [b"", b"tEXt", b"zTXt", b"iCCP", b"tRNS", b"PLTE", b"eXIf", b"gAMA", b"IEND", b"acTL"]
        )
    )
    extra = b""
    if chunk:
        body = chunk + draw(
            st.sampled_from([b"", b"\0" * 7, b"k\0\0" + zlib.compress(b"\0" * 3_000_000), b"x" * 900])
        )
        extra = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return (
        data[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + extra + data[33:]
    )
