"""What the training tests share: interrupting a training and comparing what came out."""

import pytest
import torch

from cv_pipelines.training import callbacks
from cv_pipelines.training.fit import Job, fit, fit_seed
from cv_pipelines.training.resume import KeepState


class PowerCutError(RuntimeError):
    """Stands for whatever ends a training."""


@pytest.fixture
def interrupted(monkeypatch):
    """Runs a job until it is cut off in an epoch of a seed, after a batch (None: after the validation)."""

    def run(job, epoch=1, batch=1, seed=0):
        def cut(self, trainer, pl_module, outputs, data, batch_idx):
            seeds = {c.seed for c in trainer.callbacks if isinstance(c, callbacks.History)}
            if (trainer.current_epoch, batch_idx, seeds) == (epoch, batch, {seed}):
                raise PowerCutError

        def cut_at_the_end(self, trainer, pl_module):
            if trainer.current_epoch == epoch:
                raise PowerCutError

        with monkeypatch.context() as patch:
            if batch is None:
                patch.setattr(callbacks.EpochLog, "on_train_epoch_end", cut_at_the_end)
            else:
                patch.setattr(callbacks.FiniteGuard, "on_train_batch_end", cut)
            with pytest.raises(PowerCutError):
                fit(job)

    return run


@pytest.fixture
def stepwise(monkeypatch):
    """Runs a job in one process after another, as it were: each is cut off after so many states it kept."""

    def run(job, saves=1):
        starts, save = 0, KeepState._save

        def cut(self, trainer, batches):
            save(self, trainer, batches)
            self.writer.drain()
            self.made = getattr(self, "made", 0) + 1
            if self.made == saves:
                raise PowerCutError

        monkeypatch.setattr(KeepState, "_save", cut)
        while True:
            starts += 1
            try:
                return fit_seed(job, job.config.train.seeds[0]), starts
            except PowerCutError:
                assert starts < 50

    return run


@pytest.fixture(scope="session")
def same():
    """Whether two nested containers are equal, their tensors to the last bit."""

    def compare(one, two):
        if isinstance(one, torch.Tensor):
            return torch.equal(one, two)
        if isinstance(one, dict):
            return one.keys() == two.keys() and all(compare(one[k], two[k]) for k in one)
        if isinstance(one, list | tuple):
            return len(one) == len(two) and all(map(compare, one, two))
        return repr(one) == repr(two)

    return compare


@pytest.fixture(scope="session")
def identical():
    """Whether two trainings gave the same weights to the last bit."""

    def compare(one, two):
        states = [
            (one[seed].states[which], two[seed].states[which]) for seed in one for which in ("best", "last")
        ]
        return one.keys() == two.keys() and all(
            a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) for a, b in states
        )

    return compare


@pytest.fixture(scope="session")
def trained(experiment, sources, tmp_path_factory):
    """Each task's toy experiment, trained once: checkpoints and history by task."""
    found = {}

    def get(task):
        if task not in found:
            folder = tmp_path_factory.mktemp(task) / "fit"
            found[task] = fit(Job(f"{task}_toy", experiment(task), sources[task], folder))
        return found[task]

    return get
