"""The `train` section of an experiment: step rule, schedule, regularisation, how the hardware is used."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from cv_pipelines.config.sections import Choice, Positive, Share, Strict, refuse

AtLeastZero = Annotated[float, Field(ge=0)]
Momentum = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Choice):
    """The step rule. An option that is None has the rule's usual value.

    Attributes:
        name: `sgd` (Robbins & Monro 1951), with `momentum` (Polyak 1964) and `nesterov` (Sutskever et al.
            2013); `adagrad` (Duchi et al. 2011), `rmsprop` (Hinton 2012), `adam` (Kingma & Ba 2015), `adamw`
            (Loshchilov & Hutter 2019), `lion` (Chen et al. 2023), `muon` (Jordan et al. 2024).
        lr: peak learning rate.
        weight_decay: decoupled from the gradient for adamw, lion and muon, else L2; never on norms, biases.
        encoder_lr_scale: factor on `lr` for the parameters of `model.encoder`.
        layer_decay: factor on the rate from each layer of `model.encoder` to the one before (Clark et al.
            2020, appendix A); None for none.
        momentum: of sgd (0.9), rmsprop (0) and muon (0.95).
        nesterov: of sgd (wherever there is momentum) and muon (false): look ahead by the momentum.
        betas: decay of the first and second average; adam and adamw (0.9, 0.999), lion (0.9, 0.99), and muon
            for what is no matrix, which it leaves to adamw (0.9, 0.95).
        eps: added to the root of the second average; adagrad (1e-10), rmsprop, adam and adamw (1e-8).
        alpha: decay of rmsprop's average of squares (0.99).
        centered: let rmsprop subtract the squared mean (Graves 2013 §4) (false).
    """

    options: ClassVar[dict[str, tuple[str, ...]]] = {
        "adagrad": ("eps",),
        "adam": ("betas", "eps"),
        "adamw": ("betas", "eps"),
        "lion": ("betas",),
        "muon": ("betas", "momentum", "nesterov"),
        "rmsprop": ("alpha", "centered", "eps", "momentum"),
        "sgd": ("momentum", "nesterov"),
    }

    name: Literal["adagrad", "adam", "adamw", "lion", "muon", "rmsprop", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)]
    weight_decay: AtLeastZero = 0.0
    encoder_lr_scale: Annotated[float, Field(gt=0)] = 1.0
    layer_decay: Share | None = None
    momentum: Momentum | None = None
    nesterov: bool | None = None
    betas: Annotated[list[Momentum], Field(min_length=2, max_length=2)] | None = None
    eps: Annotated[float, Field(gt=0)] | None = None
    alpha: Share | None = None
    centered: bool | None = None

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            refuse("Optimizer", "nesterov", True, "needs a momentum above 0")
        return self


class HeadFirst(Strict):
    """The first phase of a fine-tuning: what is not `encoder` learns alone (Howard & Ruder 2018 §3.3).

    Attributes:
        epochs: of it; the rest of the training is the second phase, with a schedule of its own.
        lr_scale: factor on all learning rates in the second phase.
    """

    epochs: Positive
    lr_scale: Annotated[float, Field(gt=0, le=1)] = 0.1


class Schedule(Choice):
    """The learning rate over the run, stepped every batch.

    Attributes:
        name: `one_cycle` (Smith & Topin 2018) rises then falls to zero by a cosine; `cosine` (Loshchilov &
            Hutter 2017, no restarts) and `polynomial` only fall; `step` falls at its milestones; `plateau`
            falls when the validation score does not get better; `constant` stays.
        warmup: share of all steps spent rising, 0 to 1: the first part of one_cycle (0.3); a linear rise
            before any other schedule (Goyal et al. 2017 §2.2) (none).
        milestones: of step, shares of the steps after the warm-up (0.5 and 0.75, as He et al. 2016 §4.2).
        factor: on the rate at each fall of step and plateau (0.1).
        patience: of plateau, validations without a better score before a fall (3).
        power: of polynomial; 1 is a straight line (0.9, as Chen et al. 2018).
    """

    options: ClassVar[dict[str, tuple[str, ...]]] = {
        "constant": (),
        "cosine": (),
        "one_cycle": (),
        "plateau": ("factor", "patience"),
        "polynomial": ("power",),
        "step": ("factor", "milestones"),
    }

    name: Literal["constant", "cosine", "one_cycle", "plateau", "polynomial", "step"] = "one_cycle"
    warmup: Share | None = None
    milestones: Annotated[list[Share], Field(min_length=1)] | None = None
    factor: Share | None = None
    patience: Positive | None = None
    power: Annotated[float, Field(gt=0)] | None = None


class Train(Strict):
    """How the model is fitted.

    Attributes:
        epochs: passes over the train split.
        batch_size: samples a step, over all devices.
        precision: Lightning's name; `bf16-mixed` is fast on GPUs and on CPUs with AMX.
        ema: decay of an exponential moving average of the weights; None for none.
        swa: share of the epochs after which weights are averaged (Izmailov et al. 2018); None for none.
        early_stopping: epochs without a better validation score before stopping; None for never.
        select: which weights are predicted with: of the epoch with the best validation score, or the last.
        fit_on: `train_val` adds the validation split once everything is chosen; then `select` is `last`.
        l1: factor of the sum of absolute weights, added to the loss (Tibshirani 1996); not norms, biases.
        gradient_clip: largest gradient norm; None for no clipping.
        accumulate: batches whose gradients one optimiser step gathers.
        freeze: shell patterns of parameters that stay as they are, with the statistics of their batch norms.
        head_first: a first phase in which the encoder is frozen; None for none.
        validate_every: epochs between validations; the last epoch is always validated.
        workers: loader processes; 0 loads in the training process. Never changes a result.
        channels_last: memory format of image batches and weights.
        matmul_precision: of float32 products on GPUs: `high` and `medium` allow TF32 and bfloat16; None
            leaves it as PyTorch has it.
        compile: let torch.compile make the model's kernels.
        gradient_checkpointing: blocks compute their inside again in the backward pass instead of keeping it.
        device: `auto` takes a GPU where there is one.
        bad_samples: so many samples of the train split may prove unreadable while it is trained on; the next
            one stands in for each of them.
        on_nan: what follows a loss that is no number: `stop` ends the training; `rollback` goes back to the
            last state and passes over the batch that gave it.
        max_rollbacks: so many batches may be passed over, one after the other; with one more the training
            ends.
        deterministic: take only algorithms that give the same bits each time on a GPU, too; slower there, and
            an operation that has none is refused. A CPU always gives the same bits.
        checkpoint_every: how often the state is kept: a number of steps or a share (below 1) of each epoch,
            beside its end; seconds (`30s`), whatever the epochs; None for the ends of epochs alone. Never
            changes a result.
        devices: processes of each node that train together, each on a GPU of its own, or on the CPU; `auto`
            takes all GPUs there are. `batch_size` is divided among them.
        num_nodes: machines that train together, each with so many devices; see docs/distributed.md.
        strategy: with several devices, `ddp` keeps the whole model on each (Li et al. 2020), `fsdp` a part of
            its weights, gradients and averages (Zhao et al. 2023).
        max_restarts: how often processes that train together are started again after one of them has died.
        oom_retries: how often a training that runs out of memory starts again, with half the batch and twice
            the accumulation.
        seeds: one training each; scores are means over them.
    """

    epochs: Positive
    batch_size: Positive
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    ema: Share | None = None
    swa: Share | None = None
    early_stopping: Positive | None = None
    select: Literal["best", "last"] = "best"
    fit_on: Literal["train", "train_val"] = "train"
    l1: AtLeastZero = 0.0
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    accumulate: Positive = 1
    freeze: list[str] = Field(default_factory=list)
    head_first: HeadFirst | None = None
    validate_every: Positive = 1
    workers: Annotated[int, Field(ge=0)] = 0
    channels_last: bool = False
    matmul_precision: Literal["highest", "high", "medium"] | None = None
    compile: bool = False
    gradient_checkpointing: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    bad_samples: Annotated[int, Field(ge=0)] = 10
    on_nan: Literal["stop", "rollback"] = "stop"
    max_rollbacks: Positive = 3
    deterministic: bool = False
    checkpoint_every: Positive | Share | Annotated[str, Field(pattern=r"^\d+s$")] | None = "30s"
    devices: Positive | Literal["auto"] = 1
    num_nodes: Positive = 1
    strategy: Literal["ddp", "fsdp"] = "ddp"
    max_restarts: Annotated[int, Field(ge=0)] = 3
    oom_retries: Annotated[int, Field(ge=0)] = 0
    seeds: list[int] = Field([0], min_length=1)

    @model_validator(mode="after")
    def _needs_validation(self) -> Self:
        if self.fit_on == "train_val" and (self.select == "best" or self.early_stopping):
            raise ValueError("fit_on train_val leaves nothing to choose on: select last, no early_stopping")
        if self.fit_on == "train_val" and self.schedule.name == "plateau":
            raise ValueError("fit_on train_val leaves the schedule plateau nothing to watch")
        return self

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.ema and self.swa:
            refuse("Train", "swa", self.swa, "ema averages the weights already; give one of the two")
        if self.head_first and self.head_first.epochs >= self.epochs:
            why = f"leaves no epoch of {self.epochs} for the second phase"
            refuse("Train", "head_first", self.head_first.model_dump(), why)
        return self
