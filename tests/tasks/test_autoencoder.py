"""Autoencoder: scores against the inputs as the model saw them; what disturbs an input."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cv_pipelines.config import Evaluate
from cv_pipelines.data.datasets import SampleDataset
from cv_pipelines.data.encoding import decode_png, encode_png
from cv_pipelines.data.preprocessing import Preprocessing
from cv_pipelines.tasks.autoencoder import Autoencoder
from cv_pipelines.tasks.base import Context


def predicted(data, images):
    return pd.DataFrame({"sample_id": data.samples["sample_id"], "image": [encode_png(i) for i in images]})


def test_perfect_reconstructions(image_source):
    part = image_source.only("test")
    found = Autoencoder.score(predicted(part, image_source.arrays["images"][32:]), part, Evaluate())
    assert found.values["mse"] == 0.0
    assert found.values["ssim"] == pytest.approx(1.0)
    assert found.contract == {"image_size": [16, 16]}


def test_an_error_by_hand(image_source):
    part = image_source.only("test")
    off = image_source.arrays["images"][32:] + 10  # a constant shift; the images stay below 245
    found = Autoencoder.score(predicted(part, off), part, Evaluate())
    assert found.values["mse"] == pytest.approx((10 / 255) ** 2)
    assert found.values["psnr"] == pytest.approx(20 * np.log10(25.5))
    assert found.samples["score"].tolist() == pytest.approx([-((10 / 255) ** 2)] * 8)


def test_images_are_compared_at_the_size_the_model_saw(box_source):
    part = box_source.only("test")
    small = [np.asarray(SampleDataset(part, "none", [8, 8])[i]["image"]).transpose(1, 2, 0) for i in range(2)]
    assert Autoencoder.score(predicted(part, small), part, Evaluate()).values["mse"] == 0.0


def make(experiment, data, mean=100.0, std=50.0, **options):
    context = Context(
        experiment("autoencoder"),
        data,
        Preprocessing(size=None, mean=[mean] * data.channels, std=[std] * data.channels),
    )
    return Autoencoder(nn.Identity(), context, **options).eval()


@pytest.mark.parametrize("name", ["classification", "detection"])
def test_rows_hold_pictures(experiment, sources, name):
    data = sources[name]
    task, part = make(experiment, data), data.only("test")
    task.evaluate_on(part)
    dataset = SampleDataset(part, "none")
    rows = task.predict_rows(Autoencoder.collate([dataset[1], dataset[0]]))
    assert [row["sample_id"] for row in rows] == part.samples["sample_id"].tolist()[1::-1]
    picture = decode_png(rows[0]["image"])
    expected = np.asarray(part.read(1))
    assert np.array_equal(picture, expected[0] if data.channels == 1 else expected.transpose(1, 2, 0))
    assert set(rows[0]) == {"sample_id", "image"}


class TestDisturb:
    """Blanked patches and noise, while training only."""

    def test_nothing_asked_is_nothing_done(self, experiment, image_source):
        x = torch.randn(4, 1, 16, 16)
        assert torch.equal(make(experiment, image_source).disturb(x), x)

    @pytest.mark.parametrize("size", [(16, 16), (14, 17)])
    def test_whole_patches_are_blanked(self, experiment, image_source, size):
        torch.manual_seed(0)
        found = make(experiment, image_source, mask=0.4, patch=4).disturb(torch.ones(200, 2, *size))
        assert found.shape == (200, 2, *size)
        corner = found[:, :, :4, :4].flatten(1)
        assert ((corner == 0).all(dim=1) | (corner == 1).all(dim=1)).all()  # also alike in all channels
        assert float((found == 0).float().mean()) == pytest.approx(0.4, abs=0.03)

    def test_noise_has_the_deviation_given(self, experiment, image_source):
        torch.manual_seed(0)
        found = make(experiment, image_source, noise=0.5).disturb(torch.zeros(50, 1, 16, 16))
        assert float(found.std()) == pytest.approx(0.5, rel=0.05)

    def test_the_loss_is_against_the_clean_input(self, experiment, image_source):
        task = make(experiment, image_source, mask=0.999999)
        task.log = lambda *args, **kwargs: None
        dataset = SampleDataset(replace(image_source), "none")
        batch = Autoencoder.collate([dataset[i] for i in range(4)])
        torch.manual_seed(0)
        # Everything is blanked, so the identity gives zeros: the loss is the mean square of the input.
        assert torch.isclose(task.training_step(batch, 0), task.inputs(batch).square().mean())
