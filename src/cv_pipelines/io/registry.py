"""MLflow's model registry: versions are models in MLflow's form, aliases say which one is in use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from cv_pipelines.errors import CheckpointError, RegistryError
from cv_pipelines.io.package import answers_of, checkpoint_in, log_model, write_package
from cv_pipelines.io.tracking import Tracker
from cv_pipelines.promotion.registry import Nominee, Registry, Version

CHAMPION, CHALLENGER = "champion", "challenger"
ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
"""What MLflow answers for an alias or a model that there is not."""
PREFIX = "cv_pipelines."


class MlflowRegistry(Registry):
    """Registered models of the server that runs are tracked on.

    A lock on this machine holds off other promotions of a model; one of a machine that does not share the
    lock's file is noticed before the alias moves.

    Args:
        tracker: of this process.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.prefix = tracker.config.models

    @property
    def client(self) -> MlflowClient:
        """The connection."""
        return self.tracker.client

    @contextmanager
    def locked(self, model: str) -> Iterator[None]:
        """Hold off other promotions and rollbacks of a model.

        Raises:
            RegistryError: MLflow refused something, or cannot be reached.
        """
        file = self.tracker.lock_folder / f"{model}.promotion.lock"
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file):
            try:
                yield
            except MlflowException as error:
                raise RegistryError(f"{model}: MLflow's registry at {self.tracker.uri}: {error}") from None

    def nominate(self, nominee: Nominee) -> Version:
        """Register a checkpoint as challenger; one that is registered already keeps its version."""
        digest = digest_of(nominee.folder)
        try:
            self.client.create_registered_model(nominee.model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = self._registered(nominee.model, digest) or self._create(nominee, digest)
        champion = self.champion(nominee.model)
        if champion is None or champion.number != str(found.version):
            self.client.set_registered_model_alias(nominee.model, CHALLENGER, found.version)
        return _version(found)

    def _registered(self, model: str, digest: str) -> ModelVersion | None:
        versions = self.client.search_model_versions(f"name = '{model}'")
        return next((one for one in versions if one.tags.get(f"{PREFIX}digest") == digest), None)

    def log(self, nominee: Nominee) -> LoggedModel:
        """Log a model with the run that trained it; one that it logged already stays."""
        run, name = self._run_of(nominee), f"model_{digest_of(nominee.folder)[:12]}"
        form = "served" if nominee.served else "plain"
        for one in self.logged(run):
            if (one.name, one.tags.get(f"{PREFIX}form")) == (name, form):
                return one
        files = nominee.folder
        if nominee.served:
            files = nominee.folder.with_name(f"{nominee.folder.name}.served")
            write_package(nominee.checkpoint, nominee.data, files)
        task = nominee.checkpoint.meta.config["task"]
        return log_model(self.client, run, name, task, files, {f"{PREFIX}form": form})

    def logged(self, run: str) -> list[LoggedModel]:
        """Return the models that a run logged."""
        outputs = self.client.get_run(run).outputs
        listed = outputs.model_outputs if outputs else []
        return [self.client.get_logged_model(one.model_id) for one in listed]

    def _create(self, nominee: Nominee, digest: str) -> ModelVersion:
        logged = self.log(nominee)
        run = str(logged.source_run_id)
        tags = {"digest": digest, "experiment": nominee.experiment, "fingerprint": nominee.fingerprint}
        tags["logged_model"] = logged.model_id
        return self.client.create_model_version(
            nominee.model,
            logged.artifact_location,
            run,
            tags={PREFIX + key: value for key, value in tags.items()},
            model_id=logged.model_id,
        )

    def _run_of(self, nominee: Nominee) -> str:
        """Return the run that trained a model; a new one where it is not tracked here."""
        asked = f"attributes.run_name = '{nominee.experiment}' and tags.fingerprint = '{nominee.fingerprint}'"
        found = self.client.search_runs(
            [self.tracker.experiment_id], asked, max_results=1, order_by=["attributes.start_time DESC"]
        )
        if found:
            return str(found[0].info.run_id)
        tags = {"mlflow.runName": nominee.experiment, "fingerprint": nominee.fingerprint}
        made = self.client.create_run(
            self.tracker.experiment_id, tags=tags | {f"{PREFIX}kind": "promotion"}
        ).info.run_id
        self.client.set_terminated(made)
        return str(made)

    def champion(self, model: str) -> Version | None:
        """Return the champion; None if there is none."""
        try:
            return _version(self.client.get_model_version_by_alias(model, CHAMPION))
        except MlflowException as error:
            if error.error_code in ABSENT:
                return None
            raise

    def fetch(self, version: Version, folder: Path) -> Path:
        """Copy a version's files as they lie in the registry into a folder; return where they are.

        Raises:
            CheckpointError: they are gone.
        """
        uri = self.client.get_model_version_download_uri(version.model, version.number)
        return self._download(uri, folder, f"version {version.number} of {version.model}")

    def _download(self, uri: str, folder: Path, what: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return Path(download_artifacts(uri, dst_path=str(folder), tracking_uri=self.tracker.uri))
        except (MlflowException, OSError) as error:
            raise CheckpointError(f"{what}: its files cannot be had: {error}") from None

    def version(self, name: str) -> Version:
        """Return the version that a name tells: `MODEL@ALIAS` or `MODEL/NUMBER`.

        Raises:
            CheckpointError: there is none.
        """
        model, at, alias = name.rpartition("@")
        model, _, number = (model, "", "") if at else name.rpartition("/")
        try:
            if at:
                return _version(self.client.get_model_version_by_alias(model, alias))
            return _version(self.client.get_model_version(model, number))
        except MlflowException as error:
            if error.error_code not in ABSENT:
                raise
            known = [one.name for one in self.client.search_registered_models()]
            raise CheckpointError(
                f"no registered model {name!r} at {self.tracker.uri}; write MODEL@champion or MODEL/VERSION; "
                f"models are {', '.join(known) or 'none'}"
            ) from None

    def fetch_run(self, run: str, folder: Path) -> Path | None:
        """Copy the model that a run logged into a folder; return where it is, None if it logged none.

        Raises:
            CheckpointError: there is no such run, or the files are gone.
        """
        try:
            logged = self.logged(run)
        except MlflowException as error:
            raise CheckpointError(f"no run {run!r} at {self.tracker.uri}: {error.message}") from None
        return self._download(logged[-1].artifact_location, folder, f"run {run}") if logged else None

    def checkpoint(self, files: Path) -> Path:
        """Return the folder of the checkpoint among a version's files."""
        return checkpoint_in(files)

    def answers(self, files: Path, requests: list[Any], kind: str) -> list[dict[str, Any]]:
        """Ask a version as MLflow serves it.

        Raises:
            RegistryError: it cannot be served, or does not answer.
        """
        return answers_of(files, requests, kind)

    def crown(self, version: Version, expected: Version | None) -> bool:
        """Make a version the champion, unless the champion is not the expected one any more."""
        now = self.champion(version.model)
        if (now and now.number) != (expected and expected.number):
            return False
        self._tag(version, {"previous": expected.number if expected else ""})
        self.client.set_registered_model_alias(version.model, CHAMPION, version.number)
        self.client.delete_registered_model_alias(version.model, CHALLENGER)
        return True

    def origin(self, version: Version) -> dict[str, str]:
        """Return commit and time of the run that made a version."""
        run = self.client.get_run(version.run)
        begun = datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds")
        return {"git commit": run.data.tags.get("mlflow.source.git.commit", "unknown"), "trained at": begun}

    def describe(self, version: Version, text: str) -> None:
        """Make a text (Markdown) the description of a version."""
        self.client.update_model_version(version.model, version.number, text)

    def note(self, version: Version, tags: dict[str, str]) -> None:
        """Tag a version and its run."""
        self._tag(version, tags)
        for key, value in tags.items():
            self.client.set_tag(version.run, PREFIX + key, value)
        self.client.set_tag(version.run, f"{PREFIX}model", f"{version.model} {version.number}")

    def _tag(self, version: Version, tags: dict[str, str]) -> None:
        for key, value in tags.items():
            self.client.set_model_version_tag(version.model, version.number, PREFIX + key, value)

    def attach(self, run: str, files: list[Path]) -> None:
        """Copy files to a run's artifacts."""
        for file in files:
            self.client.log_artifact(run, str(file))

    def rollback(self, model: str) -> tuple[Version, Version | None]:
        """Make the champion of before the champion again; the one of now is never promoted again.

        Returns:
            The version that was the champion, and the one that is; None where it was the first.

        Raises:
            RegistryError: there is no champion, or MLflow cannot be reached.
        """
        with self.locked(model):
            now = self.champion(model)
            if now is None:
                raise RegistryError(f"{model}: there is no champion to roll back")
            self._tag(now, {"withdrawn": "true"})
            before = self._before(now)
            if before is None:
                self.client.delete_registered_model_alias(model, CHAMPION)
            else:
                self.client.set_registered_model_alias(model, CHAMPION, before.number)
            return now, before

    def _before(self, version: Version) -> Version | None:
        """Return the champion of before a version, passing over those that were rolled back themselves."""
        seen = set()
        found: Version | None = version
        while found is not None and found.withdrawn | (found.number == version.number):
            if found.number in seen:  # one that reigned twice
                return None
            seen.add(found.number)
            number = self.client.get_model_version(version.model, found.number).tags.get(f"{PREFIX}previous")
            found = _version(self.client.get_model_version(version.model, number)) if number else None
        return found


def digest_of(folder: Path) -> str:
    """Digest names and contents of a folder's files."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(file for file in folder.rglob("*") if file.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.blake2b(path.read_bytes()).digest())
    return digest.hexdigest()


def _version(found: ModelVersion) -> Version:
    tags = found.tags
    return Version(
        str(found.name),
        str(found.version),
        str(found.run_id),
        str(tags.get(f"{PREFIX}experiment", "")),
        tags.get(f"{PREFIX}withdrawn") == "true",
    )
