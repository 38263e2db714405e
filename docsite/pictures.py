"""`python -m docsite.pictures [NAME …]`: take the pictures of `docs/images` again, from what lies in `data`.

Run the tour before, and what the pictures are of: a picture whose page was not made yet is named and left.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from docsite.browser import opened
from docsite.declared import PROJECT
from docsite.screens import (
    expand_preview,
    mlflow_server,
    newest_runs,
    node_ids,
    open_charts,
    open_comparison,
    open_graph,
    show_code,
    viz_server,
)

IMAGES = PROJECT / "docs/images"
REPORTS = PROJECT / "data/08_reporting"
PAIR = ["classification_digits_scratch", "classification_digits_pretrained"]
CHARTS = "^(accuracy|macro_f1|train_loss|val_accuracy|val_macro_f1|lr)$"
"""Metrics whose charts are shown."""
COLOURS = 128
PAUSE = 3000
"""Milliseconds that a page gets for its drawing."""


def take(page: Any, name: str) -> None:
    """Save what the page shows, with few colours: screens have few, and files stay small."""
    page.wait_for_timeout(PAUSE)
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def reports() -> None:
    """Take the pages of reports."""
    pages = {
        "report": REPORTS / "classification_digits/report.html",
        "comparison": next((REPORTS / "comparisons").glob("*.html"), REPORTS / "comparisons"),
        "decision": REPORTS / "promote_digits/decision.html",
        "ladder": REPORTS / "detection_ladder/comparison.html",
    }
    for name, path in pages.items():
        if not path.is_file():
            print(f"{name}: left as it is, for there is no {path}")
            continue
        with opened(1300, 1000) as page:
            page.goto(path.as_uri())
            take(page, name)


def mlflow() -> None:
    """Take the charts of the newest runs, and the parameters in which two of them differ."""
    experiment, runs = newest_runs(PROJECT, PAIR)
    with mlflow_server(PROJECT) as address, opened(1700, 950) as page:
        open_charts(page, address, experiment)
        page.get_by_placeholder("Search metric charts").fill(CHARTS)
        take(page, "mlflow")
        open_comparison(page, address, experiment, runs)
        switch = page.get_by_text("Show diff only").first
        switch.click()
        page.get_by_text("Run details").first.evaluate("element => element.scrollIntoView()")
        take(page, "mlflow_parameters")


def graph() -> None:
    """Take the graph, a node with its code, a table and a figure."""
    name = "classification_digits"
    with viz_server(PROJECT, name) as address:
        ids = node_ids(address)
        with opened(1900, 1000) as page:
            open_graph(page, address, name)
            take(page, "graph")
            open_graph(page, address, name, sid=ids[f"{name}.train_model"])
            show_code(page)
            take(page, "graph_code")
            previews = {
                "table": "digits.manifest",
                "figure": f"{name}.score_figure",
                "gallery": f"{name}.gallery",
            }
            for picture, dataset in previews.items():
                open_graph(page, address, name, sid=ids[dataset])
                expand_preview(page)
                take(page, f"graph_{picture}")


PICTURES: dict[str, Callable[[], None]] = {"graph": graph, "mlflow": mlflow, "reports": reports}


def main() -> int:
    """Take the pictures that are asked for, all if none is."""
    parser = argparse.ArgumentParser(prog="python -m docsite.pictures", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)}; all if none is given"
    )
    names = parser.parse_args().names or list(PICTURES)
    if unknown := [name for name in names if name not in PICTURES]:
        parser.error(f"{', '.join(unknown)}: allowed are {', '.join(PICTURES)}")
    for name in names:
        PICTURES[name]()
    for path in sorted(Path(IMAGES).glob("*.png")):
        print(f"{path.relative_to(PROJECT)}: {path.stat().st_size // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
