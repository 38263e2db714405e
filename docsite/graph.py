"""The graph of the project as a part of the site: kedro-viz's static build."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = "viz"
EMBEDDED = f"""
## Here

[Open it in the whole window]({FOLDER}/index.html){{target="_blank"}}

<iframe src="{FOLDER}/index.html" title="The graph" style="width: 100%; height: 80vh; border: 0"></iframe>
"""
OUTSIDE = re.compile(r'\s*<link\s[^>]*href="https://fonts\.[^>]*>')


def add_graph(project: Path, html: Path) -> None:
    """Build the graph with all previews and put it into the site; no page of it loads a font from elsewhere.

    Raises:
        CalledProcessError: kedro-viz could not build it.
    """
    build = project / "build"  # kedro-viz always writes there, beside what retraining leaves
    shutil.rmtree(build / "api", ignore_errors=True)
    command = [sys.executable, "-m", "kedro", "viz", "build", "--include-previews"]
    subprocess.run(command, cwd=project, check=True)
    others = shutil.ignore_patterns("retrain", "changes.md")
    shutil.copytree(build, html / FOLDER, dirs_exist_ok=True, ignore=others)
    index = html / FOLDER / "index.html"
    index.write_text(OUTSIDE.sub("", index.read_text(encoding="utf8")), encoding="utf8")
