"""Generative adversarial training (Goodfellow et al. 2014), scored in the features of our classifier."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler

from cv_pipelines.config import Evaluate
from cv_pipelines.data.datasets import SourceData, Target
from cv_pipelines.metrics.generative import frechet_distance, kernel_distance, precision_recall
from cv_pipelines.models.dcgan import Dcgan
from cv_pipelines.tasks.base import Context, Scores, Task
from cv_pipelines.tasks.optimizers import make_optimizer, make_scheduler


class Gan(Task):
    """Non-saturating losses, one step of each player a batch, one-sided label smoothing.

    The generator that is kept is an exponential average where `train.ema` says so. There is no validation
    figure that may choose an epoch: the last one counts.

    Args:
        model: both players.
        context: configuration, data, preprocessing.
        real_label: target of real images (Salimans et al. 2016 §3.4), 0.5 to 1.
    """

    target: ClassVar[Target] = "none"
    monitor: ClassVar[str] = "val_fid"
    higher_is_better: ClassVar[bool] = False
    validates: ClassVar[bool] = False
    no_ensemble: ClassVar[str] = (
        "it generates images of no given sample, so two generators have nothing in common to average"
    )

    def __init__(self, model: nn.Module, context: Context, *, real_label: float = 0.9) -> None:
        super().__init__(model, context)
        if not isinstance(model, Dcgan):
            raise TypeError(f"task gan trains dcgan; got {type(model).__name__}")
        self.players = model
        self.real_label = real_label
        self.automatic_optimization = False

    @classmethod
    def n_outputs(cls, data: SourceData) -> int:
        """Return 0: outputs are images."""
        del data
        return 0

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[LRScheduler]]:
        """Build one optimiser and schedule a player, both as the parameters file says."""
        train = self.context.config.train
        steps = int(self.trainer.estimated_stepping_batches)
        players = (self.players.generator, self.players.discriminator)
        optimizers = [make_optimizer(player, train.optimizer) for player in players]
        return optimizers, [make_scheduler(optimizer, train, steps) for optimizer in optimizers]

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Step the discriminator, then the generator; return the sum of their losses, to be watched."""
        del batch_index
        generator_step, discriminator_step = self.optimizers()  # type: ignore[attr-defined]
        real = self.inputs(batch)
        fake = self.players.generator(self.noise(len(real)))
        judge = self.players.discriminator
        loss_d = _bce(judge(real), self.real_label) + _bce(judge(fake.detach()), 0.0)
        discriminator_step.zero_grad()
        self.manual_backward(loss_d)
        discriminator_step.step()
        loss_g = _bce(judge(fake), 1.0)
        generator_step.zero_grad()
        self.manual_backward(loss_g)
        generator_step.step()
        for scheduler in self.lr_schedulers():  # type: ignore[union-attr]
            scheduler.step()
        self.note("train_loss_generator", loss_g)
        self.note("train_loss_discriminator", loss_d)
        return (loss_d + loss_g).detach()

    def noise(self, count: int) -> Tensor:
        """Draw (count, latent) standard normal noise from the global state."""
        return torch.randn(count, self.players.latent, device=self.device)

    def generate(self, count: int, seed: int) -> Tensor:
        """Generate (count, C, H, W) uint8 images from noise fixed by `seed`."""
        z = torch.randn(count, self.players.latent, generator=torch.Generator().manual_seed(seed))
        return self.normalize.invert(self.players.generator(z.to(self.device)))

    def predict_rows(self, batch: dict[str, Tensor]) -> list[dict[str, Any]]:
        """Not used: images are generated and embedded by `training.predict.generated_rows`."""
        raise NotImplementedError

    @classmethod
    def score(cls, predictions: pd.DataFrame, data: SourceData, evaluate: Evaluate) -> Scores:
        """Compare embeddings of generated with those of real images; `untrained` is the yardstick.

        `predictions` has `set` (real, generated, untrained), `embedding` and `embedder`.
        """
        del data, evaluate
        sets = {str(k): np.stack(list(rows["embedding"])) for k, rows in predictions.groupby("set")}
        embedder = str(predictions["embedder"].iat[0])
        real, fake = sets["real"], sets["generated"]
        values = {
            f"fid_{embedder}": frechet_distance(real, fake),
            f"kid_{embedder}": kernel_distance(real, fake),
            f"fid_{embedder}_untrained": frechet_distance(real, sets["untrained"]),
            **precision_recall(real, fake),
        }
        contract = {"embedder": embedder, "n_generated": len(fake), "features": int(real.shape[1])}
        return Scores(values, contract)


def _bce(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, target).float())
