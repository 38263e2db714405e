"""All pages in one folder, with the links between them: what a site generator is given."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from docsite import commands, notebooks, parameters, registries, sources, tasks
from docsite.declared import PROJECT
from docsite.graph import EMBEDDED

FROM_ROOT = {"README.md": "overview.md", "CONTRIBUTING.md": "contributing.md"}
MORE = "More"


def gather(folder: Path, project: Path = PROJECT, *, graph: bool = False) -> Path:
    """Write every page below `folder/pages`, and the configuration that builds them.

    Args:
        folder: emptied first.
        project: whose `docs`, notebooks and `mkdocs.yml` are taken.
        graph: whether the graph itself is shown on its page.

    Returns:
        The configuration file.
    """
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder / "pages"
    shutil.copytree(project / "docs", pages)
    for name, target in FROM_ROOT.items():
        text = (project / name).read_text(encoding="utf8")
        (pages / target).write_text(text.replace("](docs/", "]("), encoding="utf8")
    for path, text in made().items():
        (pages / path).parent.mkdir(parents=True, exist_ok=True)
        (pages / path).write_text(text, encoding="utf8")
    for path in pages.rglob("*.md"):
        path.write_text(_linked(path.read_text(encoding="utf8")), encoding="utf8")
    if graph:
        with (pages / "graph.md").open("a", encoding="utf8") as opened:
            opened.write(EMBEDDED)
    return _configuration(folder, project / "mkdocs.yml")


def made() -> dict[str, str]:
    """Make the pages that come from code: path to text."""
    modules = (parameters, registries, sources, tasks, commands)
    reference = {f"reference/{path}": text for module in modules for path, text in module.pages().items()}
    return reference | notebooks.pages()


def _linked(text: str) -> str:
    """Point links to files of the repository's root at their copies."""
    for name, target in FROM_ROOT.items():
        text = text.replace(f"](../{name}", f"]({target}").replace(f"]({name}", f"]({target}")
    return text


def _configuration(folder: Path, template: Path) -> Path:
    """Write `mkdocs.yml` with a navigation that leaves no page out."""
    values = yaml.safe_load(template.read_text(encoding="utf8"))
    pages = folder / "pages"
    there = sorted(str(path.relative_to(pages)) for path in pages.rglob("*.md"))
    values["nav"] = navigation(values["nav"], there)
    values |= {"docs_dir": "pages", "site_dir": "html"}
    target = folder / "mkdocs.yml"
    target.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf8")
    return target


def navigation(nav: list[Any], there: list[str]) -> list[Any]:
    """Put the pages of folders in place, and those that are named nowhere at the end.

    Args:
        nav: MkDocs' `nav`; an entry that ends with `/` stands for the pages of that folder that no other
            entry names.
        there: paths of all pages.
    """
    named = _named(nav)
    rest = [path for path in there if path not in named]
    grown = [_grown(entry, rest) for entry in nav]
    taken = _named(grown)
    left = [path for path in rest if path not in taken]
    return [*grown, {MORE: left}] if left else grown


def _named(entry: Any) -> set[str]:
    if isinstance(entry, str):
        return {entry}
    inner = entry.values() if isinstance(entry, dict) else entry
    return {name for one in inner for name in _named(one)}


def _grown(entry: Any, rest: list[str]) -> Any:
    if isinstance(entry, dict):
        return {title: _grown(inner, rest) for title, inner in entry.items()}
    if isinstance(entry, list):
        return [page for one in entry for page in _many(_grown(one, rest))]
    if entry.endswith("/"):
        return [path for path in rest if re.fullmatch(rf"{re.escape(entry)}[^/]+\.md", path)]
    return entry


def _many(entry: Any) -> list[Any]:
    return entry if isinstance(entry, list) else [entry]
