"""Train statistics against numpy, on images in memory, files, signals and masks."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table
from cv_pipelines.data.statistics import LARGEST_SAMPLE, class_counts, pixel_counts, train_statistics


def test_grey_images_of_the_train_split_alone(image_source):
    train = image_source.arrays["images"][:24].astype(float)
    found = train_statistics(image_source)
    assert found["mean"] == pytest.approx([train.mean()])
    assert found["std"] == pytest.approx([train.std()])
    assert found["counts"] == [12, 12]
    assert found["n"] == 24
    assert found["pixels"] == []


def test_other_splits_change_nothing(image_source):
    arrays = {"images": image_source.arrays["images"].copy()}
    arrays["images"][24:] = 255
    assert train_statistics(replace(image_source, arrays=arrays)) == train_statistics(image_source)


def test_colour_channels_apart(box_source):
    train = box_source.arrays["images"][:6].astype(float)
    found = train_statistics(box_source)
    assert found["mean"] == pytest.approx(train.mean(axis=(0, 1, 2)).tolist())
    assert found["std"] == pytest.approx(train.std(axis=(0, 1, 2)).tolist())


def test_signal_channels_in_their_own_units(signal_source):
    train = signal_source.arrays["signals"][:24].astype(float)
    found = train_statistics(signal_source)
    assert found["mean"] == pytest.approx(train.mean(axis=(0, 2)).tolist(), abs=1e-9)
    assert found["std"] == pytest.approx(train.std(axis=(0, 2)).tolist())


def test_files_of_different_sizes_weigh_by_pixels(tmp_path):
    Image.new("RGB", (4, 2), (100, 0, 0)).save(tmp_path / "a.png")
    Image.new("L", (2, 2), 40).save(tmp_path / "b.png")
    rows = [
        {"sample_id": k, "media": f"{k}.png", "split": "train", "group": k, "labels": [], "content_hash": k}
        for k in "ab"
    ]
    data = SourceData(samples_table(rows), annotations_table([]), Categories(), root=tmp_path)
    found = train_statistics(data)
    assert found["mean"] == pytest.approx([(8 * 100 + 4 * 40) / 12, 40 / 3, 40 / 3])


def test_a_constant_channel_keeps_a_usable_deviation(image_source):
    flat = replace(image_source, arrays={"images": np.full((40, 16, 16), 7, np.uint8)})
    found = train_statistics(flat)
    assert found["mean"] == [7.0]
    assert 0 < found["std"][0] <= 1e-3


def test_large_sources_are_sampled_evenly():
    count = LARGEST_SAMPLE * 2
    images = np.zeros((count, 1, 1), np.uint8)
    images[count // 2 :] = 200  # the first samples alone would give 0
    rows = [
        {"sample_id": f"{i}", "row": i, "split": "train", "group": "", "labels": [0], "content_hash": f"{i}"}
        for i in range(count)
    ]
    categories = Categories(labels=categories_of(["only"]))
    data = SourceData(samples_table(rows), annotations_table([]), categories, {"images": images})
    found = train_statistics(data)
    assert found["n"] == LARGEST_SAMPLE
    assert found["mean"] == pytest.approx([100.0])
    assert found["counts"] == [count]


def test_pixels_are_counted_without_void(mask_source):
    horizons = np.array([4 + i % 8 for i in range(12)])
    sky = int(horizons.sum() * 15)
    assert pixel_counts(mask_source.only("train")) == [12 * 16 * 15 - sky, sky]
    assert train_statistics(mask_source)["pixels"] == [12 * 16 * 15 - sky, sky]


def test_samples_without_a_mask_are_passed_over(mask_source):
    samples = mask_source.only("train").samples.copy()
    samples.loc[1:, "target"] = None
    assert pixel_counts(replace(mask_source, samples=samples)) == [12 * 15, 4 * 15]


def test_several_labels_count_each(image_source):
    samples = image_source.samples.head(3).copy()
    samples["labels"] = [[0, 1], [], [1]]
    assert class_counts(replace(image_source, samples=samples)) == [1, 2]
