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

SETTINGS = {"showFeatureHints": False, "theme": "light", "visible": {"miniMap": False}}
"""Of kedro-viz: the small map lies upon the graph."""
REMEMBERED = {
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,  # else a chat takes a quarter of the window
    "mlflow.workflowType_v1": "machine_learning",
}
"""What MLflow's pages keep in the browser of one who was there before."""
CARD = "[data-testid=experiment-view-compare-runs-card]"


def mlflow_server(project: Path) -> AbstractContextManager[str]:
    """Serve the runs of a project; gives the server's address."""
    command = [sys.executable, "-m", "mlflow", "server", "--port", "{port}", "--workers", "1"]
    store = ["--backend-store-uri", f"sqlite:///{project / 'mlflow.db'}"]
    silent = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    return serving([*command, *store], "/health", project, os.environ | silent)


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


def _settle(page: Any) -> None:
    """Make MLflow's pages show themselves as to one who was there before."""
    for key, value in REMEMBERED.items():
        page.add_init_script(f"localStorage.setItem('{key}', {json.dumps(json.dumps(value))})")


def open_charts(page: Any, address: str, experiment: str) -> None:
    """Open the newest runs of MLflow's experiment with a chart for each metric, and wait for the charts.

    The children of one `kedro run` are shown once their parent, the first row, is opened.
    """
    _settle(page)
    page.goto(f"{address}/#/experiments/{experiment}/runs?compareRunsMode=CHART")
    page.locator(".ag-row button").first.click()
    page.locator(f"{CARD} .js-plotly-plot").first.wait_for()


def open_comparison(page: Any, address: str, experiment: str, runs: list[str]) -> None:
    """Compare runs in MLflow's UI, and wait for all of it."""
    _settle(page)
    page.goto(f"{address}/#/compare-runs?{_query(runs=runs, experiments=[experiment])}")
    page.locator(".js-plotly-plot").first.wait_for()
    page.get_by_text("Show diff only").first.wait_for()


def open_run(page: Any, address: str, experiment: str, run: str) -> None:
    """Open the page of a run."""
    _settle(page)
    page.goto(f"{address}/#/experiments/{experiment}/runs/{run}")
    page.get_by_text("About this run").wait_for()


def drawn(page: Any) -> list[dict[str, Any]]:
    """Return what the figures of the page draw: a list of traces each, with `type`, `name`, `x` and `y`."""
    return page.evaluate(
        """() => [...document.querySelectorAll('.js-plotly-plot')].map(figure => ({
            images: (figure.layout.images || []).length,
            traces: figure.data.map(trace => ({
                type: trace.type, name: trace.name, x: [...(trace.x || [])], y: [...(trace.y || [])]
            }))
        }))"""
    )


def _query(**values: Any) -> str:
    return "&".join(f"{key}={quote(json.dumps(value))}" for key, value in values.items())


def file_server(folder: Path) -> AbstractContextManager[str]:
    """Serve files, of a static build say; gives the server's address."""
    command = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
    return serving(command, "/index.html", folder, dict(os.environ))


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
