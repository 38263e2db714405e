"""How many ranks a training has, what they cannot do, and how Lightning divides the model among them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard

from cv_pipelines.config import ExperimentConfig
from cv_pipelines.config.train import Train
from cv_pipelines.data.ranks import world
from cv_pipelines.errors import ConfigError
from cv_pipelines.tasks.base import Task

WRAPPED = 100_000
"""Parameters from which on a part of a model is sharded by itself: fewer are not worth a message."""


@dataclass(frozen=True)
class Layout:
    """How many processes train together.

    Attributes:
        devices: of each node; a process each.
        nodes: machines.
    """

    devices: int
    nodes: int

    @property
    def ranks(self) -> int:
        """Processes in all."""
        return self.devices * self.nodes


def layout_of(train: Train) -> Layout:
    """Return what `train` asks for, or torchrun's own variables where they are set.

    PET_NPROC_PER_NODE and PET_NNODES are what torchrun reads in place of its arguments, and what Kubernetes'
    PyTorchJob sets.

    Raises:
        ConfigError: a variable holds no positive whole number.
    """
    devices: int | str = os.environ.get("PET_NPROC_PER_NODE") or train.devices
    if isinstance(devices, str) and devices not in {"auto", "gpu"}:
        devices = _number("PET_NPROC_PER_NODE", devices)
    nodes = _number("PET_NNODES", os.environ.get("PET_NNODES") or str(train.num_nodes))
    return Layout(devices if isinstance(devices, int) else max(gpus(train), 1), nodes)


def _number(name: str, text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise ConfigError(f"{name}: a positive whole number is needed (value {text!r})")
    return int(text)


def gpus(train: Train) -> int:
    """Return how many GPUs this machine has for a training; 0 if it is to run on the CPU."""
    return 0 if train.device == "cpu" else torch.cuda.device_count()


def check_layout(config: ExperimentConfig, layout: Layout) -> None:
    """Check that an experiment can be trained by so many ranks.

    Raises:
        ConfigError: names the key of `train`, its value, and what is allowed.
    """
    train, ranks = config.train, layout.ranks
    if ranks == 1:
        return
    if train.batch_size % ranks:
        raise ConfigError(
            f"train.batch_size: {train.batch_size} samples of a step cannot be divided evenly among "
            f"{ranks} ranks ({layout.nodes} × {layout.devices}); take a multiple of {ranks}"
        )
    if train.oom_retries:
        raise ConfigError(
            f"train.oom_retries: {train.oom_retries}: ranks run out of memory one at a time; take 0 with "
            f"{ranks} ranks, and a smaller train.batch_size with train.accumulate"
        )
    if train.on_nan == "rollback" and (train.accumulate > 1 or train.precision == "16-mixed"):
        raise ConfigError(
            f"train.on_nan: 'rollback': {ranks} ranks cannot pass over one of several batches of a step, "
            "nor one whose gradients are scaled; take accumulate 1 and not precision 16-mixed, or 'stop'"
        )
    if train.strategy == "fsdp":
        _check_sharding(config)


def _check_sharding(config: ExperimentConfig) -> None:
    """Refuse what needs whole weights where each rank holds a part of them."""
    train = config.train
    whole = {
        "compile": train.compile,
        "ema": train.ema,
        "head_first": train.head_first,
        "optimizer.name": train.optimizer.name == "muon",
        "precision": train.precision == "16-mixed",
        "swa": train.swa,
    }
    for key in [key for key, given in whole.items() if given]:
        raise ConfigError(f"train.{key}: not with strategy fsdp, where each rank holds a part of the weights")
    if config.task == "gan":
        raise ConfigError("train.strategy: 'fsdp' is not for GANs, whose players step by turns; take 'ddp'")


def check_devices(train: Train, layout: Layout) -> None:
    """Check that this machine has a GPU for each of its ranks, or is to use none.

    Raises:
        ConfigError: names how many there are.
    """
    there = gpus(train)
    if (there or train.device == "cuda") and there < layout.devices:
        raise ConfigError(
            f"train.devices: {layout.devices} on a machine with {there} GPUs; "
            "take as many at most, or train.device cpu"
        )


class Sharded(ModelParallelStrategy):
    """Lightning's strategy for FSDP2, with what that forgets: a state is more than weights, written late."""

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a state that this project wrote."""
        del weights_only
        state: dict[str, Any] = super().load_checkpoint(checkpoint_path, weights_only=False)
        return state

    def teardown(self) -> None:
        """End the training; the last state is on the disk then."""
        super().teardown()
        self.checkpoint_io.teardown()


def trainer_options(config: ExperimentConfig) -> dict[str, Any]:
    """Return the arguments of Lightning's trainer that say who trains; those of a rank among several."""
    ranks = world()
    if ranks == 1:
        return {"devices": 1}
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    # Of GANs and of two phases, some weights have no gradient in some passes.
    unused = config.task == "gan" or config.train.head_first is not None
    strategy: Any = (
        Sharded(ranks, 1, save_distributed_checkpoint=False)
        if config.train.strategy == "fsdp"
        else DDPStrategy(find_unused_parameters=unused)
    )
    return {"devices": local, "num_nodes": ranks // local, "strategy": strategy}


def environment() -> list[Any]:
    """Return the plugin that reads torchrun's environment, not a scheduler's; none for one process."""
    return [TorchElasticEnvironment()] if world() > 1 else []


def shard_on_setup(task: Task) -> None:
    """Have a task's model sharded (FSDP2, Zhao et al. 2023) once Lightning knows the devices."""

    def configure_model() -> None:
        """Shard the parts that are worth it, from the innermost out, then the whole."""
        assert task.device_mesh is not None
        mesh = task.device_mesh["data_parallel"]
        for module in reversed(list(task.model.modules())):
            if _worth_it(module):
                fully_shard(module, mesh=mesh)
        fully_shard(task.model, mesh=mesh)

    task.configure_model = configure_model  # type: ignore[method-assign]


def _worth_it(module: nn.Module) -> bool:
    """Whether a part holds many weights in its own layers, not in parts of parts."""
    own = sum(p.numel() for p in module.parameters(recurse=False))
    return own >= WRAPPED
