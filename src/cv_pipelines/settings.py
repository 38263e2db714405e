"""Kedro's project settings: hooks, configuration loader."""

import os
from pathlib import Path

from kedro.config import OmegaConfigLoader

from cv_pipelines.hooks import ExperimentHooks

# Spinning OpenMP threads slow each other down many times over where a machine is shared; torch reads this
# when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# MLflow tells its makers how it is used unless told not to, when it is imported; for Kedro: `.telemetry`.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

PROJECT = Path(__file__).resolve().parents[2]


def project_path(path: str) -> str:
    """Resolve a path of a parameters file against the project's folder."""
    return str((PROJECT / path).resolve())


def raw_root() -> str:
    """Return the folder of the raw data: CV_PIPELINES_RAW, or `data/01_raw` of the project."""
    given = os.environ.get("CV_PIPELINES_RAW")
    return str(Path(given).resolve()) if given else project_path("data/01_raw")


HOOKS = (ExperimentHooks(),)
CONFIG_LOADER_CLASS = OmegaConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
    "config_patterns": {"mlflow": ["mlflow*"], "retrain": ["retrain*"]},
    "custom_resolvers": {"project": project_path, "raw": raw_root},
}
