"""Image files as they come: sound, damaged, mislabelled; and masks through their lookup."""

import hashlib
import os
import struct
import zlib

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cv_pipelines.data.images import check_mask, decode_rgb, read_mask, read_rgb
from cv_pipelines.data.inspection import content_hash, inspect_image, scan_columns, scan_images
from cv_pipelines.data.schema import Categories, Quarantine
from cv_pipelines.errors import BadSampleError


@pytest.fixture
def root(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    image.save(tmp_path / "good.png")
    image.save(tmp_path / "good.jpg")
    image.convert("CMYK").save(tmp_path / "print.jpg")
    image.convert("L").save(tmp_path / "grey.jpg")
    image.convert("LA").save(tmp_path / "see_through.png")
    image.save(tmp_path / "really_png.jpg", format="PNG")
    image.convert("L").save(tmp_path / "face.pgm")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:900])
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "good.jpg").read_bytes()[:700])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_bytes(b"<html>404</html>")
    (tmp_path / "folder.jpg").mkdir()
    return tmp_path


def test_a_sound_file_is_described(root):
    info = inspect_image(root, "good.jpg")
    assert (info.path, info.width, info.height, info.mode, info.format) == ("good.jpg", 32, 24, "RGB", "JPEG")
    data = (root / "good.jpg").read_bytes()
    assert info.content_hash == hashlib.blake2b(data, digest_size=16).hexdigest() == content_hash(data)


@pytest.mark.parametrize(
    ("name", "reason", "detail"),
    [
        ("none.jpg", "missing file", "expected a file at none.jpg"),
        ("empty.jpg", "empty file", "0 bytes"),
        ("cut.png", "truncated image", ""),
        ("cut.jpg", "truncated image", ""),
        ("text.jpg", "not an image", b"<html>40".hex()),
        ("folder.jpg", "unreadable file", ""),
        ("nul\0.jpg", "unreadable file", ""),
    ],
)
def test_a_defect_has_its_reason(root, name, reason, detail):
    with pytest.raises(BadSampleError) as error:
        inspect_image(root, name)
    assert error.value.reason == reason
    assert detail in error.value.detail
    assert str(error.value).startswith(reason)


def test_a_pipe_is_not_waited_for(root):
    os.mkfifo(root / "pipe.jpg")
    with pytest.raises(BadSampleError, match="not a regular file"):
        inspect_image(root, "pipe.jpg")


def test_a_bomb_is_not_unpacked(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BadSampleError, match="too many pixels"):
        inspect_image(root, "good.png")


def test_columns_say_the_same_as_single_files(root):
    names = sorted(p.name for p in root.iterdir())
    found = scan_columns(root, pa.chunked_array([names[:5], names[5:]]), Quarantine())
    infos = scan_images(root, names, Quarantine())
    kept = [names[row] for row in found.row]
    assert kept == list(infos)
    columns = zip(found.width.tolist(), found.height.tolist(), found.content_hash.to_pylist(), strict=True)
    assert list(columns) == [(i.width, i.height, i.content_hash) for i in infos.values()]


def test_a_scan_drops_repairs_and_keeps(root):
    quarantine = Quarantine()
    names = [*sorted(p.name for p in root.iterdir()), "none.jpg"]
    found = scan_images(root, names, quarantine)
    rows = {(r.file, r.action): r.reason for r in quarantine.table().itertuples()}
    assert rows == {
        ("cut.jpg", "dropped"): "truncated image",
        ("cut.png", "dropped"): "truncated image",
        ("empty.jpg", "dropped"): "empty file",
        ("folder.jpg", "dropped"): "unreadable file",
        ("grey.jpg", "repaired"): "grey-scale image",
        ("none.jpg", "dropped"): "missing file",
        ("print.jpg", "repaired"): "CMYK image",
        ("really_png.jpg", "repaired"): "mislabelled format",
        ("see_through.png", "repaired"): "unusual colour mode",
        ("text.jpg", "dropped"): "not an image",
    }
    assert sorted(found) == sorted(set(names) - {f for f, action in rows if action == "dropped"})
    assert all((info.width, info.height) == (32, 24) for info in found.values())


@pytest.mark.parametrize("name", ["good.png", "print.jpg", "grey.jpg", "really_png.jpg", "see_through.png"])
def test_whatever_stays_is_read_as_rgb(root, name):
    image = read_rgb(root / name)
    assert image.shape == (24, 32, 3)
    assert image.dtype == np.uint8


RAMP = (np.arange(24 * 32, dtype=np.uint32).reshape(24, 32) * 65535 // (24 * 32 - 1)).astype(np.uint16)


def save_deep(path, values):
    """Write a PNG of 16 bits a channel, which Pillow can do for grey only."""
    channels = values.shape[2] if values.ndim == 3 else 1
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    head = struct.pack(
        ">IIBBBBB", values.shape[1], values.shape[0], 16, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0
    )
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    whole = (
        struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(whole))


@pytest.mark.parametrize(
    "name", ["good.png", "good.jpg", "print.jpg", "grey.jpg", "see_through.png", "face.pgm"]
)
def test_decoding_once_judges_and_reads_as_two_looks_do(root, name):
    info, pixels = decode_rgb(name, (root / name).read_bytes())
    assert info == inspect_image(root, name)
    np.testing.assert_array_equal(pixels, read_rgb(root / name))


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "text.jpg"])
def test_decoding_once_refuses_what_inspection_refuses(root, name):
    with pytest.raises(BadSampleError) as found:
        decode_rgb(name, (root / name).read_bytes())
    with pytest.raises(BadSampleError) as wanted:
        inspect_image(root, name)
    assert str(found.value) == str(wanted.value)


@pytest.mark.parametrize("name", ["grey.png", "rgb.png", "rgba.png", "grey.tif", "grey.pgm"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, name):
    channels = {"rgb.png": 3, "rgba.png": 4}.get(name)
    if name.endswith(".png"):
        save_deep(tmp_path / name, np.stack([RAMP] * channels, axis=2) if channels else RAMP)
    else:
        Image.fromarray(RAMP).save(tmp_path / name)
    quarantine = Quarantine()
    scan_images(tmp_path, [name], quarantine)
    assert [(r["reason"], r["action"]) for r in quarantine.rows] == [("16-bit image", "repaired")]
    read = read_rgb(tmp_path / name)
    assert read.dtype == np.uint8
    assert np.abs(read - (RAMP / 257)[..., None]).max() <= 1  # Pillow cuts the low byte off where it scales


@pytest.mark.parametrize("pixels", [np.full((4, 4), 0.5, np.float32), np.full((4, 4), 70_000, np.int32)])
def test_values_of_an_unknown_range_are_a_defect(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "depth.tif")
    with pytest.raises(BadSampleError, match="unknown range of values: mode"):
        inspect_image(tmp_path, "depth.tif")


def test_what_exif_says_to_turn_is_told_and_stays_as_stored(tmp_path):
    image = Image.fromarray(np.arange(24 * 32, dtype=np.uint8).reshape(24, 32)).convert("RGB")
    for turn in (1, 6):
        exif = Image.Exif()
        exif[0x0112] = turn
        image.save(tmp_path / f"{turn}.png", exif=exif)
    quarantine = Quarantine()
    infos = scan_images(tmp_path, ["1.png", "6.png"], quarantine)
    (row,) = quarantine.table().to_dict("records")
    assert (row["file"], row["reason"], row["action"]) == ("6.png", "EXIF-rotated image", "noted")
    assert "32×24" in row["detail"]
    assert (infos["6.png"].width, infos["6.png"].height) == (32, 24)
    assert read_rgb(tmp_path / "6.png").tolist() == read_rgb(tmp_path / "1.png").tolist()


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"x" * 40]
)
def test_broken_exif_harms_nobody(tmp_path, exif):
    Image.new("RGB", (32, 24)).save(tmp_path / "a.jpg", exif=exif)
    assert inspect_image(tmp_path, "a.jpg").orientation == 1


def test_a_phones_several_pictures_in_one_jpeg_are_a_jpeg(tmp_path):
    first, second = Image.new("RGB", (32, 24)), Image.new("RGB", (16, 12))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    quarantine = Quarantine()
    infos = scan_images(tmp_path, ["a.jpg"], quarantine)
    assert (infos["a.jpg"].format, infos["a.jpg"].width, quarantine.rows) == ("JPEG", 32, [])


class TestMasks:
    """Raw mask files to class indices."""

    values = np.array([[0, 5], [9, 5]], np.uint8)
    expected = np.array([[1, 0], [255, 0]])
    by_value = Categories(mask_lookup={"0": 1, "5": 0, "9": 255})
    by_color = Categories(mask_lookup={"0,0,0": 1, "64,128,255": 0, "9,9,9": 255})

    def save(self, image, tmp_path):
        image.save(tmp_path / "mask.png")
        return tmp_path / "mask.png"

    def test_grey_files_by_value(self, tmp_path):
        found = read_mask(self.save(Image.fromarray(self.values), tmp_path), self.by_value)
        assert found.tolist() == self.expected.tolist()
        assert found.dtype == np.uint8

    def test_palette_files_by_index_whatever_the_colours(self, tmp_path):
        image = Image.fromarray(self.values)
        image.putpalette(np.random.default_rng(0).integers(0, 255, 768, dtype=np.uint8).tobytes())
        assert image.mode == "P"
        assert read_mask(self.save(image, tmp_path), self.by_value).tolist() == [
            list(row) for row in self.expected
        ]

    def test_colour_files_by_colour(self, tmp_path):
        colors = {0: (0, 0, 0), 5: (64, 128, 255), 9: (9, 9, 9)}
        pixels = np.array([[colors[v] for v in line] for line in self.values.tolist()], np.uint8)
        assert read_mask(self.save(Image.fromarray(pixels), tmp_path), self.by_color).tolist() == [
            list(row) for row in self.expected
        ]

    def test_a_grey_file_under_a_colour_lookup_is_grey_colours(self, tmp_path):
        image = Image.fromarray(np.array([[0, 9]], np.uint8))
        assert read_mask(self.save(image, tmp_path), self.by_color).tolist() == [[1, 255]]

    def test_unknown_values_are_named(self, tmp_path):
        path = self.save(Image.fromarray(np.array([[0, 7], [200, 5]], np.uint8)), tmp_path)
        with pytest.raises(BadSampleError, match=r"unknown mask value: 7 \| 200 not among 3 known values"):
            read_mask(path, self.by_value)

    def test_unknown_colours_are_named(self, tmp_path):
        path = self.save(Image.new("RGB", (2, 2), (64, 128, 254)), tmp_path)
        with pytest.raises(BadSampleError, match=r"64,128,254 not among 3 known values"):
            read_mask(path, self.by_color)

    def test_a_colour_file_under_a_value_lookup_is_a_defect(self, tmp_path):
        path = self.save(Image.new("RGB", (2, 2)), tmp_path)
        with pytest.raises(BadSampleError, match="a colour image; expected class indices"):
            read_mask(path, self.by_value)

    def test_a_file_of_sixteen_bits_is_a_defect(self, tmp_path):
        path = self.save(Image.fromarray(np.zeros((2, 2), np.uint16)), tmp_path)
        with pytest.raises(BadSampleError, match="a 16-bit image"):
            read_mask(path, self.by_value)

    def test_checking_finds_another_size(self, tmp_path):
        self.save(Image.fromarray(self.values), tmp_path)
        check_mask(tmp_path, "mask.png", (2, 2), self.by_value)
        with pytest.raises(BadSampleError, match="mask of another size: 2×2; expected 3×2"):
            check_mask(tmp_path, "mask.png", (3, 2), self.by_value)
        with pytest.raises(BadSampleError, match="unknown mask value"):
            check_mask(tmp_path, "mask.png", (2, 2), Categories(mask_lookup={"0": 1}))
        with pytest.raises(BadSampleError, match="missing file"):
            check_mask(tmp_path, "none.png", (2, 2), self.by_value)
