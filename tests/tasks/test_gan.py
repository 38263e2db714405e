"""Generative scores from saved embeddings; what the task accepts and draws."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cv_pipelines.config import Evaluate
from cv_pipelines.data.preprocessing import Preprocessing
from cv_pipelines.models import builder
from cv_pipelines.tasks.base import Context
from cv_pipelines.tasks.gan import Gan


def predicted(**sets):
    rows = [
        {"sample_id": f"{name}_{i}", "set": name, "embedding": vector, "embedder": "digits"}
        for name, vectors in sets.items()
        for i, vector in enumerate(vectors)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def real():
    return np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)


def test_equal_sets_have_distance_zero(real, image_source):
    found = Gan.score(predicted(real=real, generated=real, untrained=real + 3), image_source, Evaluate())
    assert found.values["fid_digits"] == pytest.approx(0.0, abs=1e-6)
    assert found.values["precision"] == found.values["recall"] == 1.0
    assert (
        found.values["kid_digits"] <= 0.0
    )  # the unbiased estimate leaves out each sample's pair with itself
    # A shift by 3 in each of 4 dimensions: |m1 - m2|² is 36 and the covariances agree.
    assert found.values["fid_digits_untrained"] == pytest.approx(36.0, rel=1e-4)
    assert found.contract == {"embedder": "digits", "n_generated": 60, "features": 4}


def test_far_sets_are_neither_real_nor_varied(real, image_source):
    found = Gan.score(predicted(real=real, generated=real + 50, untrained=real), image_source, Evaluate())
    assert found.values["precision"] == found.values["recall"] == 0.0
    assert found.values["fid_digits"] == pytest.approx(4 * 50**2, rel=1e-3)
    assert found.values["kid_digits"] > 1


@pytest.fixture
def task(experiment, image_source):
    torch.manual_seed(0)
    model = builder("dcgan")(1, 0, size=16, latent=4, width=4)
    preprocessing = Preprocessing(size=[16, 16], mean=[127.5], std=[127.5])
    return Gan(model, Context(experiment("gan"), image_source, preprocessing)).eval()


def test_generated_images_depend_on_the_seed_alone(task):
    one = task.generate(5, seed=3)
    torch.manual_seed(99)
    assert torch.equal(task.generate(5, seed=3), one)
    assert not torch.equal(task.generate(5, seed=4), one)
    assert one.shape == (5, 1, 16, 16)
    assert one.dtype == torch.uint8


def test_each_player_has_its_own_optimiser(task):
    class Steps:
        estimated_stepping_batches = 10

    trainer = Steps()
    task.trainer = trainer
    (generator, discriminator), schedules = task.configure_optimizers()
    assert [schedule.optimizer for schedule in schedules] == [generator, discriminator]
    assert {id(p) for group in generator.param_groups for p in group["params"]} == {
        id(p) for p in task.players.generator.parameters()
    }
    assert {id(p) for group in discriminator.param_groups for p in group["params"]} == {
        id(p) for p in task.players.discriminator.parameters()
    }
    assert generator.param_groups[0]["initial_lr"] == 0.003 / 25  # one-cycle starts at a 25th of the peak
    assert generator.param_groups[0]["max_lr"] == 0.003


def test_other_models_are_refused(experiment, image_source):
    context = Context(experiment("gan"), image_source, Preprocessing(size=None, mean=[0.0], std=[1.0]))
    with pytest.raises(TypeError, match="trains dcgan; got Linear"):
        Gan(nn.Linear(1, 1), context)
