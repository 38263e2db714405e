"""Normalisation and its inverse."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_pipelines.config import Inputs
from cv_pipelines.data.preprocessing import Normalize, Preprocessing


@given(st.floats(0, 255, allow_subnormal=False), st.floats(1, 255))
@settings(max_examples=50, deadline=None)
def test_inverse_gives_every_image_value_back(mean, std):
    normalize = Normalize(Preprocessing(size=None, mean=[mean], std=[std]))
    image = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(normalize.invert(normalize(image)), image)


def test_inverse_clamps_to_image_values():
    normalize = Normalize(Preprocessing(size=None, mean=[100.0], std=[50.0]))
    values = torch.tensor([-9.0, -2.0, 0.0, 3.1, 9.0]).view(1, 1, 1, 5)
    assert normalize.invert(values).flatten().tolist() == [0, 0, 100, 255, 255]


@pytest.mark.parametrize("leading", [(), (5,)])
def test_images_are_normalised_by_channel(leading):
    normalize = Normalize(Preprocessing(size=None, mean=[10.0, 20.0], std=[2.0, 4.0]))
    image = torch.full((*leading, 2, 3, 4), 30, dtype=torch.uint8)
    found = normalize(image)
    assert found.shape == image.shape
    assert found.dtype == torch.float32
    assert (found[..., 0, :, :] == 10).all()
    assert (found[..., 1, :, :] == 2.5).all()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_the_memory_format_changes_no_bit(height, width, seed):
    normalize = Normalize(Preprocessing(size=None, mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4]))
    images = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (2, 3, height, width), np.uint8))
    last = images.contiguous(memory_format=torch.channels_last)
    expected = (images.float() - normalize.mean.view(-1, 1, 1)) / normalize.std.view(-1, 1, 1)
    for given_images in (images, last):
        kept = given_images.clone()
        for memory_format in (torch.contiguous_format, torch.channels_last):
            found = normalize(given_images, memory_format)
            assert torch.equal(found, expected)
            assert found.is_contiguous(memory_format=memory_format)
        assert torch.equal(given_images, kept)


@pytest.mark.parametrize("leading", [(), (5,)])
def test_signals_are_normalised_by_channel(leading):
    normalize = Normalize(Preprocessing(size=None, mean=[1.0, -1.0, 0.0], std=[1.0, 2.0, 0.5]))
    found = normalize(torch.ones(*leading, 3, 7))
    assert torch.equal(found, torch.tensor([0.0, 1.0, 2.0])[:, None].expand(*leading, 3, 7))


def test_dataset_statistics_whiten_the_train_split(image_source):
    preprocessing = Preprocessing.of(Inputs(size=[16, 16]), image_source)
    train = torch.from_numpy(np.array(image_source.arrays["images"][:24]))[:, None]
    found = Normalize(preprocessing)(train)
    assert float(found.mean()) == pytest.approx(0, abs=1e-4)
    assert float(found.std(correction=0)) == pytest.approx(1, abs=1e-4)
    assert preprocessing.size == [16, 16]


@pytest.mark.parametrize(("name", "low", "high"), [("packaged", -127 / 128, 1.0), ("half", -1.0, 1.0)])
def test_fixed_normalisations_span_minus_one_to_one(box_source, name, low, high):
    preprocessing = Preprocessing.of(Inputs(normalize=name), box_source)
    ends = torch.tensor([0, 255], dtype=torch.uint8).expand(3, 1, 2)
    found = Normalize(preprocessing)(ends)
    assert found[:, 0, 0].tolist() == pytest.approx([low] * 3)
    assert found[:, 0, 1].tolist() == pytest.approx([high] * 3)


def test_it_is_no_part_of_the_weights():
    assert Normalize(Preprocessing(size=None, mean=[1.0], std=[1.0])).state_dict() == {}
