"""What every task shares: inputs, optimiser, validation by the same scoring that `evaluate` uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, ClassVar

import lightning as L
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from cv_pipelines.config import Evaluate, ExperimentConfig
from cv_pipelines.data.datasets import SourceData, Target
from cv_pipelines.data.preprocessing import Normalize, Preprocessing
from cv_pipelines.data.ranks import RankBatches, brought, first, total
from cv_pipelines.tasks.figures import EpochFigures
from cv_pipelines.tasks.optimizers import make_optimizer, make_scheduler, phase_steps


@dataclass(frozen=True)
class Scores:
    """What scoring gives.

    Attributes:
        values: named figures, the content of `metrics.json`.
        contract: what the figures depend on, beyond what every contract says (protocol, back end, …).
        details: JSON-able material for figures (confusion matrix, curves, per-class rows).
        samples: a row a sample for galleries and slices: `sample_id`, `score` (low is bad), `note`.
    """

    values: dict[str, float]
    contract: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)
    samples: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class Context:
    """What a task knows beside its model."""

    config: ExperimentConfig
    data: SourceData
    preprocessing: Preprocessing


class Task(L.LightningModule):
    """Base of the tasks. Keyword-only arguments of a subclass's `__init__` are the keys of `loss` in YAML.

    Attributes:
        target: what a sample's target is.
        monitor: the validation figure that chooses the best epoch.
        higher_is_better: the direction of `monitor`.
        validates: whether a validation figure may choose the epoch.
        figures: of the training epoch under way.
        no_ensemble: why predictions of several models cannot be made into one; empty where `fuse` can.
    """

    target: ClassVar[Target]
    monitor: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    validates: ClassVar[bool] = True
    no_ensemble: ClassVar[str] = "it has no rule that makes one prediction of several"

    def __init__(self, model: nn.Module, context: Context) -> None:
        super().__init__()
        self.model = model
        self.context = context
        self.normalize = Normalize(context.preprocessing)
        self.rows: list[dict[str, Any]] = []
        self.figures = EpochFigures()
        self.weight, self.samples = 1.0, 0
        self._eval_data = context.data.only("val")

    @classmethod
    def n_outputs(cls, data: SourceData) -> int:
        """Return how many outputs the model needs for this source."""
        raise NotImplementedError

    @staticmethod
    def collate(items: list[dict[str, Any]]) -> Any:
        """Stack samples of equal shape into a batch.

        Images keep the channels of a pixel together, as they are decoded: a plain copy, which is quick; the
        batch is still indexed as (B, C, H, W).
        """
        items = [{k: _to_stack(k, v) for k, v in item.items()} for item in items]
        batch = {key: stacked([item[key] for item in items]) for key in items[0]}
        if "image" in batch:
            batch["image"] = batch["image"].permute(0, 3, 1, 2)
        return batch

    @classmethod
    def collate_inputs(cls, items: list[dict[str, Any]]) -> Any:
        """Build a batch without targets, for prediction."""
        return cls.collate(items)

    def inputs(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the normalised model input of a batch, in the configured memory format."""
        last = self.context.config.train.channels_last
        memory_format = torch.channels_last if last else torch.contiguous_format
        x: Tensor = self.normalize(batch["image"] if "image" in batch else batch["signal"], memory_format)
        return x

    def predict_rows(self, batch: Any) -> list[dict[str, Any]]:
        """Return the prediction table's rows of a batch; each has `sample_id`."""
        ids = self.sample_ids(batch, self.eval_data())
        pairs = zip(ids, self.outputs(batch), strict=True)
        return [row for sample_id, output in pairs for row in self.rows_of(sample_id, output)]

    def outputs(self, batch: Any) -> Iterable[Any]:
        """Return what the model says of each sample of a batch, averaged over the configured views."""
        raise NotImplementedError

    @classmethod
    def rows_of(cls, sample_id: str, output: Any) -> list[dict[str, Any]]:
        """Return the prediction table's rows of one sample, from its output."""
        raise NotImplementedError

    @classmethod
    def fuse(cls, outputs: Iterable[Any], weights: Sequence[float], evaluate: Evaluate) -> Any:
        """Make one output of those that several models have for one sample; one alone stays as it is.

        Args:
            outputs: one a model, as `outputs` gives them.
            weights: above 0, one a model.
            evaluate: what is scored.
        """
        raise NotImplementedError

    @classmethod
    def score(cls, predictions: pd.DataFrame, data: SourceData, evaluate: Evaluate) -> Scores:
        """Score saved predictions of one seed against one split.

        Args:
            predictions: the rows of `predict_rows`.
            data: the source with the samples of the scored split only.
            evaluate: protocol.
        """
        raise NotImplementedError

    @classmethod
    def validation_figures(
        cls, predictions: pd.DataFrame, data: SourceData, evaluate: Evaluate
    ) -> dict[str, float]:
        """Score the validation split while training: what the curves show and the epoch is chosen by."""
        return cls.score(predictions, data, evaluate).values

    def sample_ids(self, batch: dict[str, Tensor], data: SourceData) -> list[str]:
        """Return the ids of a batch's samples."""
        ids = data.samples["sample_id"]
        return [str(ids.iat[int(i)]) for i in batch["index"]]

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        """Note the size of the whole batch and, where there are several ranks, what this one holds of it."""
        batches = getattr(self.trainer.train_dataloader, "batch_sampler", None)
        if isinstance(batches, RankBatches):
            mass = self.mass(batch)
            self.weight = mass * batches.ranks / max(total(mass), 1e-12)
            self.samples = batches.size(batch_index)
        else:
            self.samples = len(batch["index"])

    def mass(self, batch: Any) -> float:
        """Return what the loss of a batch is a mean over: its samples."""
        return float(len(batch["index"]))

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Weigh a rank's loss by what it holds: gradients are averaged as if all held the same."""
        super().backward(loss if self.weight == 1.0 else loss * self.weight, *args, **kwargs)

    def note(self, name: str, value: Tensor) -> None:
        """Note a figure of a training step, the mean over its batch; an epoch's is that over all samples."""
        self.figures.add(name, value if self.weight == 1.0 else value * self.weight, self.samples)

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Collect prediction rows; they are scored when the epoch ends."""
        del batch_index
        self.rows += self.predict_rows(batch)

    def on_validation_epoch_end(self) -> None:
        """Score the validation split with the evaluator that `evaluate` uses, and log the figures.

        One rank scores what all have predicted, so that all go by the same figures.
        """
        rows, self.rows = list(chain.from_iterable(brought(self.rows))), []
        evaluate = self.context.config.evaluate
        values = first(lambda: self.validation_figures(pd.DataFrame(rows), self.eval_data(), evaluate))
        for name, value in values.items():
            if "/" not in name:
                self.log(f"val_{name}", float(value))

    def eval_data(self) -> SourceData:
        """Return the samples that prediction rows refer to: the split being predicted."""
        return self._eval_data

    def evaluate_on(self, data: SourceData) -> None:
        """Say whose samples the next predicted batches index."""
        self._eval_data = data

    def configure_optimizers(self) -> Any:
        """Build optimiser and schedule as the parameters file says."""
        train = self.context.config.train
        optimizer = make_optimizer(self.model, train.optimizer)
        steps, _ = phase_steps(train, int(self.trainer.estimated_stepping_batches))
        scheduler = make_scheduler(optimizer, train, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def stacked(values: list[Any]) -> Any:
    """Stack what samples have under one key; tensors in memory of this process, see `data.transport`."""
    return torch.stack(values) if isinstance(values[0], Tensor) else default_collate(values)


def _to_stack(key: str, value: Any) -> Any:
    """Strip tv_tensor classes, which loaders' collation would carry along; images become (H, W, C)."""
    if (
        isinstance(value, Tensor) and type(value) is not Tensor
    ):  # the rest is as it should be: a thing a sample
        value = value.as_subclass(Tensor)
    return value.permute(1, 2, 0) if key == "image" else value
