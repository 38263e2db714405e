"""What MLflow keeps of one run, fetched into a folder."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from cv_pipelines.errors import ReproductionError

NEEDED, OPTIONAL = ("metrics.json", "record.json"), ("changes.patch",)


def fetch_run(client: MlflowClient, run_id: str, folder: Path) -> dict[str, Path]:
    """Fetch what is needed to run an experiment's run again.

    Args:
        client: of MLflow.
        run_id: of the run.
        folder: that the files are put into.

    Returns:
        `metrics.json`, `record.json` and, where the code was in no commit, `changes.patch`, by name.

    Raises:
        ReproductionError: there is no such run, it is none of an experiment, or it lacks one of them.
    """
    try:
        run = client.get_run(run_id)
        kept = {item.path for item in client.list_artifacts(run_id)}
    except MlflowException as error:
        raise ReproductionError(f"run {run_id}: {str(error)[:200]}") from None
    kind = run.data.tags.get("cv_pipelines.kind", "unknown")
    if kind != "experiment":
        raise ReproductionError(f"run {run_id} is of kind {kind!r}; only runs of experiments are run again")
    lacking = [name for name in NEEDED if name not in kept]
    if lacking:
        state = f"it is {run.info.status}" if run.info.status != "FINISHED" else "an earlier version made it"
        raise ReproductionError(f"run {run_id} has no {' and no '.join(lacking)}: {state}")
    wanted = [*NEEDED, *(name for name in OPTIONAL if name in kept)]
    return {name: Path(client.download_artifacts(run_id, name, str(folder))) for name in wanted}
