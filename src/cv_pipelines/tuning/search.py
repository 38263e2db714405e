"""The search: one trial after the other, each a training, until the study has all of them."""

from __future__ import annotations

import logging
import math
import shutil
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from lightning.pytorch.utilities.memory import garbage_collection_cuda
from optuna import TrialPruned
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from cv_pipelines.config.sections import flat
from cv_pipelines.config.study import Range, StudyConfig
from cv_pipelines.errors import ConfigError, StudyError
from cv_pipelines.provenance import digest
from cv_pipelines.training.fingerprint import WITHOUT_EFFECT
from cv_pipelines.training.fit import fit, has_validation, make_task
from cv_pipelines.training.job import Job
from cv_pipelines.training.validation import check_experiment
from cv_pipelines.tuning.samplers import make_pruner, make_sampler
from cv_pipelines.tuning.space import distributions, drawn_values, own_values, with_values
from cv_pipelines.tuning.storage import address, open_storage, open_study, signs_of_life, take_up, told_apart
from cv_pipelines.tuning.watch import Watcher
from cv_pipelines.tuning.workers import worker

logger = logging.getLogger(__name__)

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
"""What the states of finished trials are called."""


@dataclass(frozen=True)
class Plan:
    """What is searched.

    Attributes:
        name: of the study.
        config: the study.
        parameters: of the experiment, as its file has them.
        job: the experiment; its folder is the study's, and trials work below it.
    """

    name: str
    config: StudyConfig
    parameters: Mapping[str, Any]
    job: Job


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        state: complete, pruned or failed.
        value: the figure of a complete one.
        reason: of a failure.
    """

    state: TrialState
    value: float | None = None
    reason: str | None = None


class Search:
    """A process's part in a study.

    Args:
        plan: what is searched.
        watcher: is told what happens.

    Raises:
        ConfigError: the experiment has nothing to be judged by.
        StudyError: the storage cannot be used.
    """

    def __init__(self, plan: Plan, watcher: Watcher) -> None:
        self.plan, self.watcher = plan, watcher
        config, job = plan.config, plan.job
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # what it would say is logged here
        task = make_task(job)
        if not has_validation(job, task):
            raise ConfigError(f"{plan.name}: source {job.config.source} has no validation split to judge by")
        self.monitor, self.higher = str(task.monitor), bool(task.higher_is_better)
        self.url = address(config.storage, job.folder)
        self.storage: RDBStorage = open_storage(self.url)
        own = own_values(config.space, plan.parameters, job.config.model_dump())
        with told_apart(self.url):
            self.study = open_study(
                plan.name,
                self.storage,
                definition(plan),
                "maximize" if self.higher else "minimize",
                make_sampler(config, own),
                make_pruner(config, job.config.train.epochs),
            )

    def run(self) -> None:
        """Run trials until the study has all of them; those that other processes run are theirs.

        Raises:
            StudyError: too many trials failed in a row, or none was good, or the storage fails.
        """
        with told_apart(self.url):
            self.watcher.opened(str(self.study.user_attrs["id"]))
            failed: list[str] = []
            while (trial := self._next()) is not None:
                outcome = self._run(trial)
                failed = [*failed, str(outcome.reason)] if outcome.state == TrialState.FAIL else []
                if len(failed) >= self.plan.config.failures:
                    told = f"{len(failed)} trials failed in a row, the last one: {failed[-1]}"
                    raise StudyError(f"{self.plan.name}: {told}")
            self._conclude()

    def _next(self) -> optuna.Trial | None:
        """Return the next trial to run; None if all are finished or run elsewhere."""
        total = self.plan.config.total
        take_up(self.study, self.storage, self.plan.config.lost_after)
        known = self.study.get_trials(deepcopy=False)[:total]
        if len(known) == total and all(trial.state != TrialState.WAITING for trial in known):
            return None
        trial = self.study.ask(distributions(self.plan.config.space))
        if trial.number >= total:  # another process was faster; it waits for whoever raises `trials`
            self.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
            return None
        return trial

    def _run(self, trial: optuna.Trial) -> Outcome:
        number, folder = trial.number, self.plan.job.folder / f"trial_{trial.number}"
        values = drawn_values(self.plan.config.space, trial.params)
        parameters = with_values(self.plan.parameters, values)
        shown = ", ".join(f"{key} {_short(value)}" for key, value in values.items())
        logger.info("trial %d (of %d): %s", number, self.plan.config.total, shown)
        started = time.perf_counter()
        with signs_of_life(self.storage, trial._trial_id, self.plan.config.lost_after):
            self.watcher.started(number, parameters, folder)
            outcome = self._twin(trial) or self._train(trial, parameters, folder)
        self._tell(trial, outcome, time.perf_counter() - started)
        shutil.rmtree(folder, ignore_errors=True)
        return outcome

    def _twin(self, trial: optuna.Trial) -> Outcome | None:
        """Return the outcome of a trial of the same parameters: training again would give the same bits."""
        done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        same = next((other for other in done if other.params == trial.params), None)
        if same is None:
            return None
        trial.set_user_attr("same_as", same.number)
        return Outcome(TrialState.COMPLETE, same.value)

    def _train(self, trial: optuna.Trial, parameters: dict[str, Any], folder: Path) -> Outcome:
        """Train with the parameters of a trial; whatever goes wrong is its reason."""
        job = self.plan.job
        try:
            name = f"{self.plan.name}_trial_{trial.number}"
            config = check_experiment(name, parameters, [job.config.source])
            watch = self._reporter(trial, config.train.seeds[0], config.train.epochs)
            _, history = fit(
                replace(job, experiment=name, config=config, folder=folder, watch=watch), keep=True
            )
            return Outcome(TrialState.COMPLETE, self._figure(history, config.train.select))
        except TrialPruned:
            return Outcome(TrialState.PRUNED)
        except StudyError:
            raise
        except Exception as error:  # a bad draw may break a training in any way; the study goes on
            outcome = Outcome(TrialState.FAIL, reason=f"{type(error).__name__}: {error}"[:1000])
        # Outside the handler: the error's traceback keeps the tensors that may have filled the memory.
        garbage_collection_cuda()
        return outcome

    def _reporter(self, trial: optuna.Trial, first: int, epochs: int) -> Any:
        """Return what is told the figures of a training; with several seeds, the first one's decide."""
        frozen = self.study.get_trials(deepcopy=False)[trial.number]
        known = set(frozen.intermediate_values)  # reported before the trial was interrupted

        def report(seed: int, epoch: int, value: float) -> None:
            """Tell the study a figure; end the trial if it is to be pruned."""
            if seed != first:
                return
            with told_apart(self.url):
                if epoch not in known:
                    trial.report(value, epoch)
                    known.add(epoch)  # a training that goes back tells it twice
                if epoch < epochs and trial.should_prune():
                    raise TrialPruned

        return report

    def _figure(self, history: pd.DataFrame, select: str) -> float:
        """Return the validation figure of the weights that would be kept, the mean over seeds."""
        rows = history[history["name"] == self.monitor]
        if rows.empty:
            raise ValueError(f"{self.monitor} was never defined")
        best = "max" if self.higher else "min"
        figures = rows.groupby("seed")["value"].agg(best if select == "best" else "last")
        value = statistics.fmean(figures)
        if not math.isfinite(value):
            raise ValueError(f"{self.monitor} is {value}")
        return value

    def _tell(self, trial: optuna.Trial, outcome: Outcome, seconds: float) -> None:
        """Enter how a trial ended, unless it was taken for lost and another process has it."""
        now = self.study.get_trials(deepcopy=False)[trial.number]
        if now.state != TrialState.RUNNING or now.user_attrs.get("worker") != worker():
            logger.warning("trial %d was taken for lost and given to another process", trial.number)
            return
        trial.set_user_attr("seconds", seconds)
        if outcome.reason:
            trial.set_user_attr("reason", outcome.reason)
        self.study.tell(trial, outcome.value, state=outcome.state)
        now = self.study.get_trials(deepcopy=False)[trial.number]
        self.watcher.ended(trial.number, STATES[now.state], now.value, outcome.reason)
        told = outcome.reason or (f"{self.monitor} {now.value:.4f}" if now.value is not None else "")
        best = best_trial(self.study)
        leader = f"; best so far {best.value:.4f} in trial {best.number}" if best else ""
        logger.info("trial %d %s: %s%s", trial.number, STATES[now.state], told, leader)

    def _conclude(self) -> None:
        best = best_trial(self.study)
        if best is None:
            reasons = [str(t.user_attrs.get("reason")) for t in self.study.get_trials(deepcopy=False)]
            raise StudyError(f"{self.plan.name}: no trial came to its end; the last one: {reasons[-1]}")
        assert best.value is not None
        self.watcher.decided(best.number, best.value)
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in running:
            logger.info("trial %d still runs on %s", trial.number, trial.user_attrs.get("worker"))


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """Return the complete trial of the best figure, the first of equals; None if there is none."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = 1 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1
    return min(done, key=lambda trial: (sign * float(trial.value or 0.0), trial.number), default=None)


def definition(plan: Plan) -> dict[str, Any]:
    """Return, flat, what must be the same for the figures of trials to be compared."""
    config = plan.job.config.model_dump()
    for key in WITHOUT_EFFECT:
        config["train"].pop(key)
    space = {
        f"space.{key}": value.model_dump() if isinstance(value, Range) else value
        for key, value in plan.config.space.items()
    }
    return flat(config) | space | {"data and start": digest(plan.job.provenance.inputs)}
