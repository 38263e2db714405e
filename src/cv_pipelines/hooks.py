"""The life of a `kedro run`: validation before it, tracking during it, a table of results after it."""

from __future__ import annotations

import atexit
import logging
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.hooks import hook_impl

from cv_pipelines.errors import ConfigError, CvPipelinesError, DataLimitError, PromotionRefusedError
from cv_pipelines.experiments import (
    Ensemble,
    find_ensembles,
    find_experiments,
    find_promotions,
    find_studies,
)
from cv_pipelines.planning.durations import note_durations
from cv_pipelines.validation import check_sections, place_of

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import CatalogProtocol
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

    from cv_pipelines.config import ExperimentConfig
    from cv_pipelines.io.tracking import Tracker
    from cv_pipelines.reproduction.record import Surroundings

logger = logging.getLogger(__name__)

KEPT = [
    *("report.html", "metrics.json", "details.json", "errors.html", "errors.json"),
    *("study.json", "trials.parquet"),
]
"""Files of a report that MLflow keeps."""

REFUSED = 3
"""Exit status of a run whose model was not promoted."""


class ExperimentHooks:
    """Validates parameters, keeps one MLflow run an experiment, prints what came out and where it lies."""

    def __init__(self) -> None:
        self.tracker: Tracker | None = None
        self.begins: dict[str, float] = {}
        self.durations: dict[str, float] = {}
        self.experiments: list[str] = []
        self.ensembles: dict[str, Ensemble] = {}
        self.studies: list[str] = []
        self.promotions: list[str] = []
        self.configs: dict[str, ExperimentConfig] = {}
        self.works: dict[str, Path] = {}
        self.surroundings: Surroundings | None = None
        self.scored: list[str] = []

    @property
    def tracked(self) -> list[str]:
        """What has a run in MLflow: experiments and studies."""
        return [*self.experiments, *self.studies]

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember where the project lies and what it is configured with."""
        self.project = Path(context.project_path)
        self.tracking = context.config_loader["mlflow"]
        places = context.config_loader["globals"]
        self.folder: str = places["data"]
        self.reporting = self.project / self.folder / "08_reporting"
        self.winners = self.project / places["winners"]

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]
    ) -> None:
        """Check every source, experiment and ensemble of the run, then open tracking.

        Raises:
            click.ClickException: a parameters file is wrong; all defects are listed.
        """
        # The context has them too, but looks through all pipelines there are when it is asked.
        self.params: dict[str, Any] = catalog["parameters"].load()
        namespaces = {node.namespace for node in pipeline.nodes if node.namespace}
        try:
            self.configs = check_sections(self.project, self.params, namespaces)
        except ConfigError as error:
            raise click.ClickException(str(error)) from None  # the terminal shows the message alone
        known = find_experiments(self.project / "conf")
        self.ensembles = find_ensembles(self.project / "conf", known)
        self.experiments = sorted(namespaces & (known.keys() | self.ensembles.keys()))
        self.studies = sorted(namespaces & find_studies(self.project / "conf", known).keys())
        self.promotions = sorted(namespaces & find_promotions(self.project / "conf", known).keys())
        works = {node.namespace for node in pipeline.nodes if node.tags & {"train", "tune"}}
        self.works = {name: catalog[f"{name}.work"].load() for name in self.tracked if name in works}
        self.begins, self.durations, self.scored = {}, {}, []
        self.begun, self.total = 0, len(pipeline.nodes)
        if self.experiments:
            from cv_pipelines.reproduction.record import Surroundings

            self.surroundings = Surroundings.of(self.project)
        if self.tracked or self.promotions:
            self.open_tracking("+".join(run_params.get("pipeline_names") or ["tour"]))

    def open_tracking(self, title: str) -> None:
        """Connect to MLflow; make sure that runs are closed even if the process is told to stop."""
        from cv_pipelines.io.tracking import Tracker, TrackingConfig

        self.tracker = Tracker(TrackingConfig.model_validate(self.tracking), self.project)
        self.tracker.begin(title, self.tracked, self.works)
        # Kedro's error hook sees Exceptions only: Ctrl-C and SIGTERM pass it by.
        atexit.register(self.close, "KILLED")
        if threading.current_thread() is threading.main_thread():  # Python lets no other set a handler
            signal.signal(signal.SIGTERM, _stop)

    def close(self, status: str) -> bool:
        """Close all open runs with a status; return whether MLflow has all that is to be told."""
        return self.tracker.end_all(status) if self.tracker else False

    @hook_impl
    def before_dataset_loaded(self, node: Node) -> None:
        """Open an experiment's run before its first node reads anything, so that a bad file fails a run."""
        self.begins.setdefault(node.name, time.perf_counter())
        if self.tracker and node.namespace in self.experiments:
            self.tracker.start(node.namespace, self.tracked_parameters(node.namespace))
        if self.tracker and node.namespace in self.studies:
            self.start_study(self.tracker, node.namespace)
        if self.tracker and node.namespace in self.promotions:
            from cv_pipelines.io.registry import MlflowRegistry
            from cv_pipelines.promotion import registry

            registry.use(MlflowRegistry(self.tracker))

    def tracked_parameters(self, name: str) -> dict[str, Any]:
        """Return what it is run with, defaults too: a key that only one file names is else a difference."""
        if ensemble := self.ensembles.get(name):
            return {"task": ensemble.task, "source": ensemble.source} | self.params[name]
        given = {key: self.params[name][key] for key in {"augment"} & self.params[name].keys()}
        return self.configs[name].model_dump(mode="json", exclude={"augment"}, exclude_none=True) | given

    def start_study(self, tracker: Tracker, study: str) -> None:
        """Open the run of a study, and one of each of its trials when it begins."""
        from cv_pipelines.io.trials import TrialRuns
        from cv_pipelines.tuning.watch import watch_with

        if study not in tracker.open:
            tracker.start(study, self.params[study], tags={"cv_pipelines.kind": "study"})
            watch_with(TrialRuns(tracker, study))

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Say which node comes."""
        self.begun += 1
        logger.info("%d of %d: %s", self.begun, self.total, node.name)

    @hook_impl
    def after_node_run(self, node: Node, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """Log what a node gave: curves, scores, the report."""
        name = node.namespace or ""
        if not self.tracker or name not in self.experiments:
            return
        if f"{name}.history" in outputs:
            self.tracker.log_history(name, outputs[f"{name}.history"])
        if f"{name}.metrics" in outputs:
            from cv_pipelines.training.leaderboard import contract_key

            metrics = outputs[f"{name}.metrics"]
            self.tracker.log_scores(name, metrics, contract_key(metrics))
            source = metrics["contract"]["source"]
            self.tracker.log_data(name, source, self.params[source].get("root"), inputs[f"{source}.manifest"])
            self.keep_record(self.tracker, name)
            self.scored += [name] if name not in self.ensembles else []

    def keep_record(self, tracker: Tracker, name: str) -> None:
        """Keep what `kedro cv reproduce` needs of an experiment's run, with it."""
        from cv_pipelines.reproduction.record import record_of, sections_of, write_record

        known = find_experiments(self.project / "conf")
        if self.surroundings and name in known:
            sections = sections_of(name, known, self.params)
            record = record_of(name, self.surroundings, self.project, sections)
            tracker.tag(name, {"dirty": str(record.dirty).lower()})
            tracker.log_files(name, write_record(self.reporting / name, record, self.surroundings))

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Clear a training's working folder once the last of its outputs is saved, and not before."""
        if node.name in self.begins:
            self.durations[node.name] = time.perf_counter() - self.begins[node.name]
        name = dataset_name.removesuffix(".history")
        if dataset_name.endswith(".history") and name in self.works:
            shutil.rmtree(self.works[name], ignore_errors=True)

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline) -> None:
        """Log the reports, close the runs, write the leaderboard, print the table."""
        del pipeline
        self.finish()

    def finish(self) -> None:
        """End a run that did all its work."""
        if self.durations:
            note_durations(self.reporting, self.durations)
        for name in self.tracked:
            folder = self.reporting / name
            if self.tracker and name in self.tracker.open:
                self.tracker.log_files(name, [folder / file for file in KEPT])
        if self.close("FINISHED"):
            self.log_models()
        if self.experiments:
            from cv_pipelines.summary import conclude

            seconds = {
                name: sum(took for node, took in self.durations.items() if node.startswith(f"{name}."))
                for name in self.experiments
            }
            conclude(self.reporting, self.experiments, seconds)
        for study in self.studies:
            from cv_pipelines.summary import conclude_study

            conclude_study(self.reporting / study, self.winners / f"{study}_best.yml")
        for promotion in self.promotions:
            self.conclude_promotion(promotion)

    def log_models(self) -> None:
        """Log the models that were scored with their runs, if that is configured."""
        if not (self.tracker and self.tracker.config.log_models and self.scored):
            return
        from cv_pipelines.io.logged_models import log_trained
        from cv_pipelines.pipelines.source_data import stored_source

        for name in self.scored:
            logger.info("logging the model of %s", name)
            source = self.params[name]["source"]
            data = stored_source(self.project, source, self.params[source], self.folder)
            log_trained(self.tracker, self.project / self.folder, name, data)

    def conclude_promotion(self, promotion: str) -> None:
        """Print a decision and attach it to the run of the model that it is about."""
        from cv_pipelines.io.registry import MlflowRegistry
        from cv_pipelines.summary import conclude_promotion

        names = ("decision.json", "decision.html", "model_card.md", "model_card.html")
        files = [self.reporting / promotion / name for name in names]
        if self.tracker and all(file.exists() for file in files):
            MlflowRegistry(self.tracker).attach(conclude_promotion(*files[:2]), files)

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Close the runs as failed; an error of our own reaches the terminal as its message alone.

        Raises:
            click.ClickException: in place of a `CvPipelinesError`, which says itself what is wrong and where.
                A model that was refused ends the run with status `REFUSED`: all else went well.
        """
        if isinstance(error, PromotionRefusedError):
            self.finish()
            raise _Refused(f"{type(error).__name__}: {error}") from None
        self.close("FAILED")
        if isinstance(error, DataLimitError) and error.source:
            raise click.ClickException(
                f"DataLimitError: {place_of(self.project, error.source)}: {error}"
            ) from None
        if isinstance(error, CvPipelinesError):
            raise click.ClickException(f"{type(error).__name__}: {error}") from None


class _Refused(click.ClickException):
    exit_code = REFUSED


def _stop(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an orderly exit, so that `atexit` closes the runs."""
    del frame
    sys.exit(128 + number)
