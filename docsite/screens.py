"""What the browser is led to: runs compared in MLflow, the graph and its nodes in kedro-viz."""

from __future__ import annotations

import json
import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

from docsite.browser import serving

SETTINGS = {"showFeatureHints": False, "theme": "light"}


def mlflow_server(project: Path) -> AbstractContextManager[str]:
    """Serve the runs of a project; gives the server's address."""
    command = [sys.executable, "-m", "mlflow", "server", "--port", "{port}", "--workers", "1"]
    store = ["--backend-store-uri", f"sqlite:///{project / 'mlflow.db'}"]
    return serving([*command, *store], "/health", project, dict(os.environ))


def viz_server(project: Path, pipeline: str | None = None) -> AbstractContextManager[str]:
    """Serve the graph of a project, or of one pipeline; gives the server's address."""
    command = [sys.executable, "-m", "kedro", "viz", "run", "--no-browser", "--port", "{port}"]
    chosen = ["--pipeline", pipeline] if pipeline else []
    path = os.pathsep.join([str(project / "src"), os.environ.get("PYTHONPATH", "")])
    return serving([*command, *chosen], "/api/main", project, os.environ | {"PYTHONPATH": path})


def newest_runs(project: Path, names: list[str]) -> tuple[str, list[str]]:
    """Find the newest finished run of each name.

    Returns:
        Id of MLflow's experiment, ids of the runs.

    Raises:
        LookupError: there is none of some name.
    """
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    found = []
    for name in names:
        wanted = f"attributes.status = 'FINISHED' and attributes.run_name = '{name}'"
        runs = client.search_runs(experiments, wanted, order_by=["attributes.start_time DESC"])
        if not runs:
            raise LookupError(f"no finished run of {name} in {project / 'mlflow.db'}")
        found.append(runs[0])
    return found[0].info.experiment_id, [run.info.run_id for run in found]


def open_comparison(page: Any, address: str, experiment: str, runs: list[str]) -> None:
    """Compare runs in MLflow's UI, and wait for the chart."""
    page.goto(f"{address}/#/compare-runs?{_query(runs=runs, experiments=[experiment])}")
    page.locator(".js-plotly-plot").first.wait_for()
    page.get_by_text("Show diff only").first.wait_for()


def _query(**values: Any) -> str:
    return "&".join(f"{key}={quote(json.dumps(value))}" for key, value in values.items())


def node_ids(address: str) -> dict[str, str]:
    """Return the id of each node and dataset of the graph that is served."""
    with urlopen(f"{address}/api/main") as answer:
        nodes = json.load(answer)["nodes"]
    return {node.get("full_name") or node["name"]: node["id"] for node in nodes}


def open_graph(page: Any, address: str, pipeline: str, **query: str) -> None:
    """Open the graph without hints and news, and wait until it is drawn.

    Args:
        page: of the browser.
        address: of the server, or of the folder of a static build.
        pipeline: that is shown.
        query: more of the address: `sid` selects a node, `expandAllPipelines` opens namespaces.
    """
    page.add_init_script(f"localStorage.setItem('KedroViz', {json.dumps(json.dumps(SETTINGS))})")
    more = "".join(f"&{key}={value}" for key, value in query.items())
    page.goto(f"{address}/?pid={pipeline}{more}")
    page.locator(".pipeline-layer-name").first.wait_for()
    page.add_style_tag(content="[class^=update-reminder] { display: none }")  # news of kedro-viz itself


def show_code(page: Any) -> Any:
    """Show the code of the selected node; gives its element."""
    page.get_by_text("Show Code").first.click()
    shown = page.locator(".pipeline-metadata-code--visible .pipeline-metadata-code__code")
    shown.wait_for()
    return shown


def expand_preview(page: Any) -> Any:
    """Show the preview of the selected dataset in the whole window; gives its element."""
    page.get_by_text("Expand preview").first.click()
    shown = page.locator(".pipeline-metadata-modal, .pipeline-plotly-modal").first
    shown.locator("table, .js-plotly-plot, pre").first.wait_for()
    return shown
