"""How samples look in numbers, and the look-alikes that are found by it."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.duplicates import count_by_pair, near_duplicates
from cv_pipelines.data.measures import look, measure
from cv_pipelines.data.schema import Categories, annotations_table, samples_table
from cv_pipelines.sources.scenes import draw_scene


def scene(seed, size=(160, 120)):
    return Image.fromarray(draw_scene(np.random.default_rng(seed), size, [seed % 6, (seed + 1) % 6]).image)


def bits_apart(one, other):
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_brightness_and_contrast_are_mean_and_deviation_of_the_luma():
    pixels = np.zeros((60, 60), np.uint8)
    pixels[:, 30:] = 200
    found = look(Image.fromarray(pixels))
    assert (found.brightness, found.contrast) == (100, 100)


def test_sixteen_bits_are_measured_as_eight():
    deep = Image.fromarray(np.full((60, 60), 200 * 257, np.uint16))
    assert look(deep).brightness == 200


@pytest.mark.parametrize("seed", range(4))
def test_a_picture_saved_again_smaller_or_lighter_has_nearly_the_same_hash(seed):
    picture = scene(seed)
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=60)
    again = Image.open(buffer)
    smaller = picture.resize((120, 90), Image.Resampling.LANCZOS)
    lighter = picture.point(lambda value: value * 0.9 + 20)
    for other in (again, smaller, lighter):
        assert bits_apart(look(picture).phash, look(other).phash) <= 3


def test_different_pictures_have_hashes_far_apart():
    hashes = [look(scene(seed)).phash for seed in range(8)]
    distances = [bits_apart(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > 8


@pytest.mark.parametrize("image", [Image.new("RGB", (90, 90), (9, 9, 9)), scene(0).resize((40, 30))])
def test_blank_and_tiny_images_have_no_hash(image):
    assert look(image).phash is None


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "1"])
def test_every_mode_is_measured(mode):
    assert 0 <= look(scene(0).convert(mode)).brightness <= 255


def test_files_are_measured_as_their_pixels_are(tmp_path):
    rows = []
    for k in range(5):
        name = f"{k}.{'jpg' if k % 2 else 'png'}"
        scene(k, (320, 240)).save(tmp_path / name, quality=95)
        place = {"sample_id": str(k), "media": name, "split": "train", "group": str(k), "labels": []}
        rows.append(place | {"width": 320, "height": 240, "content_hash": str(k)})
    data = SourceData(samples_table(rows), annotations_table([]), Categories(), root=tmp_path)
    found = measure(data)
    for k, row in enumerate(found.itertuples()):
        whole = look(scene(k, (320, 240)))
        assert row.sample_id == str(k)
        assert row.brightness == pytest.approx(whole.brightness, abs=2)
        assert bits_apart(row.phash, whole.phash) <= 4


def test_packed_images_and_signals_are_measured(image_source, signal_source):
    images = measure(image_source)
    expected = image_source.arrays["images"].mean(axis=(1, 2))
    np.testing.assert_allclose(images["brightness"], expected, rtol=1e-5)
    assert images["phash"].isna().all()
    signals = measure(signal_source)
    windows = signal_source.arrays["signals"]
    for k in range(windows.shape[1]):
        np.testing.assert_allclose(signals[f"mean_{k}"], windows[:, k].mean(axis=1), atol=1e-6)
        np.testing.assert_allclose(signals[f"deviation_{k}"], windows[:, k].std(axis=1), atol=1e-6)


@given(
    st.lists(st.tuples(st.sampled_from(["train", "val", "test"]), st.integers(0, 2**64 - 1)), max_size=30),
    st.lists(st.integers(0, 63), max_size=4),
    st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_exactly_the_close_pairs_of_different_splits_are_found(rows, flips, distance):
    flipped = [("test", value ^ sum({1 << bit for bit in flips})) for _, value in rows[:3]]
    rows = rows + flipped
    samples = pd.DataFrame(
        {"sample_id": [f"s{k}" for k in range(len(rows))], "split": [split for split, _ in rows]}
    )
    hashes = pd.Series([f"{value:016x}" for _, value in rows], dtype=object)
    found = near_duplicates(samples, hashes, distance)
    order = {"train": 0, "val": 1, "test": 2}
    wanted = {
        (samples["sample_id"][a], samples["sample_id"][b])
        for a in range(len(rows))
        for b in range(len(rows))
        if order[rows[a][0]] < order[rows[b][0]] and (rows[a][1] ^ rows[b][1]).bit_count() <= distance
    }
    assert set(zip(found["sample_id"], found["other_id"], strict=True)) == wanted
    assert len(found) == len(wanted)
    assert found["distance"].is_monotonic_increasing


def test_samples_are_counted_once_a_pair_of_splits():
    samples = pd.DataFrame({"sample_id": list("abcd"), "split": ["train", "train", "test", "test"]})
    hashes = pd.Series(["0" * 16, "0" * 15 + "1", "0" * 16, None], dtype=object)
    assert count_by_pair(near_duplicates(samples, hashes)) == {"train|test": 1}
