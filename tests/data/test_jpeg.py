"""JPEG without Pillow: the same pixels and sizes, and nothing where Pillow has to judge."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cv_pipelines.data.images import read_rgb
from cv_pipelines.data.jpeg import decode_jpeg, jpeg_size


def photo(width=61, height=43, mode="RGB", seed=0):
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([0, 1, 2]),
    st.integers(1, 100),
    st.booleans(),
    st.sampled_from(["RGB", "L"]),
)
def test_pixels_are_those_of_pillow(width, height, subsampling, quality, progressive, mode):
    options = {"quality": quality, "progressive": progressive}
    options |= {"subsampling": subsampling} if mode == "RGB" else {}
    data = encoded(photo(width, height, mode), **options)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_jpeg(data), expected)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff",
        b"no picture",
        encoded(photo(mode="CMYK")),
        encoded(photo())[:-200],
        encoded(photo())[:100],
    ],
    ids=["empty", "magic only", "text", "CMYK", "cut off", "header only"],
)
def test_what_pillow_has_to_judge_is_left_to_it(data):
    assert decode_jpeg(data) is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P"])
def test_any_file_is_read_as_rgb(tmp_path, kind, mode):
    if (kind, mode) in {("JPEG", "P"), ("PNG", "CMYK"), ("BMP", "CMYK")}:
        pytest.skip("a format has not all modes")
    path = tmp_path / "image"
    photo(mode=mode).save(path, kind)
    np.testing.assert_array_equal(read_rgb(path), np.asarray(Image.open(path).convert("RGB")))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.binary(max_size=5000), st.booleans())
def test_sizes_are_read_behind_any_metadata(tmp_path_factory, width, height, comment, progressive):
    path = tmp_path_factory.mktemp("sizes") / "a.jpg"
    path.write_bytes(encoded(Image.new("L", (width, height)), comment=comment, progressive=progressive))
    assert jpeg_size(path) == (width, height)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_search_for_a_size(tmp_path_factory, tail):
    path = tmp_path_factory.mktemp("broken") / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff" + tail)
    size = jpeg_size(path)
    assert size is None or len(size) == 2


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n" + bytes(40), encoded(photo())[:20]])
def test_a_file_without_a_frame_has_no_size(tmp_path, data):
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    assert jpeg_size(path) is None
