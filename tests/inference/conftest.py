"""Models of every task with random weights: what they say has no sense, but is always the same."""

import pytest
import torch

from cv_pipelines.data.preprocessing import Preprocessing
from cv_pipelines.inference.model import Trained
from cv_pipelines.models import builder
from cv_pipelines.tasks import task_class
from cv_pipelines.training.checkpoints import Checkpoint, Meta


@pytest.fixture(scope="session")
def checkpoint(experiment, sources):
    """Builds the untrained checkpoint of a task's toy experiment; keywords replace sections of it."""

    def build(task, shape=True, model_options=None, **sections):
        config, data = experiment(task, **sections), sources[task]
        outputs = task_class(task).n_outputs(data)
        options = config.model.options | (model_options or {})
        torch.manual_seed(0)
        model = builder(config.model.name)(data.channels, outputs, **options)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
        meta = Meta(
            experiment=f"{task}_toy",
            seed=0,
            model=config.model.name,
            options=options,
            in_channels=data.channels,
            shape=data.shape if shape else None,
            n_outputs=outputs,
            categories=data.categories,
            preprocessing=Preprocessing.of(config.inputs, data),
            config=config.model_dump(),
            selected="last",
            epoch=0,
            score=None,
            fingerprint="f" * 32,
            seconds=0.0,
            device="cpu",
            versions={},
        )
        return Checkpoint(meta, {"best": model.state_dict(), "last": model.state_dict()})

    return build


@pytest.fixture
def trained(checkpoint):
    """Builds the model of a task, ready to predict."""

    def build(task, **changes):
        if task == "detection":  # without training a detector is sure of nothing
            changes |= {"model_options": {"score_threshold": 0.0, "max_detections": 5}}
        return Trained(checkpoint(task, **changes), "cpu")

    return build
