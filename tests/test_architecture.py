"""The rules that keep the code easy to find and to change: import directions, sizes, documentation."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
SOURCE = PROJECT / "src" / "cv_pipelines"
FILES = sorted(SOURCE.rglob("*.py"))
LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 60


def functions(path):
    """Functions and methods of a file, with their dotted names; those nested in functions left out."""
    found = []

    def visit(body, prefix):
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.append((prefix + node.name, node))
            elif isinstance(node, ast.ClassDef):
                visit(node.body, f"{prefix}{node.name}.")

    visit(ast.parse(path.read_text(encoding="utf8")).body, "")
    return [(f"{path.relative_to(SOURCE)}: {name}", node) for name, node in found]


FUNCTIONS = [pair for path in FILES for pair in functions(path)]
PUBLIC = [(name, node) for name, node in FUNCTIONS if not re.search(r"(^|[ .])_", name.split(": ")[1])]


def lint(project):
    """Run import-linter on a checkout, so that it reads that checkout's package and contracts."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_there_is_something_to_check():
    assert len(FILES) > 50
    assert len(PUBLIC) > 200


def test_import_contracts_hold():
    done = lint(PROJECT)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("data/schema.py", "from cv_pipelines import tasks", "Imports point down"),
        ("models/unet.py", "from cv_pipelines.training import fit", "Imports point down"),
        ("brand_new.py", "", "Imports point down"),
        ("training/fit.py", "import kedro", "The core knows neither Kedro nor MLflow"),
        ("training/fit.py", "import optuna", "Only tuning imports Optuna"),
        ("tuning/search.py", "import mlflow", "The core knows neither Kedro nor MLflow"),
        ("metrics/voc.py", "def f():\n    import mlflow", "The core knows neither Kedro nor MLflow"),
        ("pipelines/train/nodes.py", "import mlflow", "Only hooks and io import MLflow"),
        ("models/unet.py", "import lightning", "Models, data, metrics, plots and readers are free"),
    ],
)
def test_a_wrong_import_breaks_its_contract(tmp_path, file, line, contract):
    shutil.copytree(PROJECT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    with (tmp_path / "src" / "cv_pipelines" / file).open("a", encoding="utf8") as opened:
        opened.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode != 0
    assert re.search(rf"{re.escape(contract)}.* BROKEN", done.stdout) or "brand_new" in done.stdout, (
        done.stdout
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_can_be_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf8").splitlines()) <= LINES_OF_A_FILE


def options_told(node):
    """The lines of a builder's docstring, which is the reference of its options: a line each."""
    told = node.body[0]
    return told.end_lineno - told.lineno + 1 if node.name == "build" and has_docstring(node) else 0


def test_functions_are_short():
    lines = {name: node.end_lineno - node.lineno + 1 - options_told(node) for name, node in FUNCTIONS}
    assert {name: count for name, count in lines.items() if count > LINES_OF_A_FUNCTION} == {}


def has_docstring(node):
    return ast.get_docstring(node) is not None


def test_public_functions_say_what_they_do():
    assert [name for name, node in PUBLIC if not has_docstring(node)] == []


def test_public_functions_say_what_they_return():
    assert [name for name, node in PUBLIC if node.returns is None] == []


def test_modules_and_public_classes_say_what_they_are():
    silent = [
        str(p.relative_to(SOURCE)) for p in FILES if not ast.get_docstring(ast.parse(p.read_text("utf8")))
    ]
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not has_docstring(node):
                silent.append(f"{path.relative_to(SOURCE)}: {node.name}")
    assert silent == []


def test_no_file_is_a_drawer_for_odds_and_ends():
    assert [str(p) for p in FILES if p.stem in {"utils", "util", "helpers", "common", "misc"}] == []


def test_nothing_prints():
    calls = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert calls == []
