"""`python -m docsite [--graph]`: build the site in `site/html`; a warning or a broken link ends it."""

from __future__ import annotations

import argparse
import subprocess
import sys

from docsite.declared import PROJECT
from docsite.gather import gather
from docsite.graph import add_graph
from docsite.links import broken_links

FOLDER = PROJECT / "site"


def main() -> int:
    """Build the site; 1 if something is wrong with it."""
    parser = argparse.ArgumentParser(prog="python -m docsite", description="Build the documentation site.")
    parser.add_argument("--graph", action="store_true", help="with the graph, by `kedro viz build`")
    wanted = parser.parse_args()
    configuration = gather(FOLDER, graph=wanted.graph)
    html = FOLDER / "html"
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(configuration)]
    if subprocess.run(command, check=False).returncode:
        return 1
    if wanted.graph:  # the build of the pages has emptied the folder
        add_graph(PROJECT, html)
    defects = broken_links(html)
    print("\n".join([*defects, f"{len(defects)} broken links"]))
    print(f"{html / 'index.html'}")
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(main())
