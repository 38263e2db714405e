"""The site holds all pages, is built without a warning, and no link of it is broken."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from docsite.gather import gather, navigation
from docsite.links import broken_links

PROJECT = Path(__file__).resolve().parents[2]
PAGE = '<html><body id="top"><h1 id="one">One</h1>{}</body></html>'


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    return gather(tmp_path_factory.mktemp("site") / "site")


def named(entry):
    """All pages of a navigation."""
    if isinstance(entry, str):
        return [entry]
    inner = entry.values() if isinstance(entry, dict) else entry
    return [page for one in inner for page in named(one)]


def test_the_navigation_leaves_no_page_out_and_names_none_twice(gathered):
    nav = named(yaml.safe_load(gathered.read_text())["nav"])
    pages = gathered.parent / "pages"
    assert sorted(nav) == sorted(str(path.relative_to(pages)) for path in pages.rglob("*.md"))


def test_every_page_of_docs_and_every_notebook_is_there(gathered):
    pages = gathered.parent / "pages"
    for path in (PROJECT / "docs").glob("*.md"):
        assert (pages / path.name).is_file()
    for path in (PROJECT / "notebooks").glob("*.ipynb"):
        assert "```python" in (pages / "notebooks" / f"{path.stem}.md").read_text()


def test_links_to_the_readme_lead_to_its_copy(gathered):
    text = (gathered.parent / "pages/results.md").read_text()
    assert "(overview.md#measured)" in text
    assert "README.md" not in text


def test_pages_that_nothing_names_come_last():
    nav = [{"Home": ["index.md"]}, {"Reference": ["a/first.md", "a/"]}]
    there = ["a/b/deep.md", "a/first.md", "a/second.md", "index.md", "new.md"]
    assert navigation(nav, there) == [
        {"Home": ["index.md"]},
        {"Reference": ["a/first.md", "a/second.md"]},
        {"More": ["a/b/deep.md", "new.md"]},
    ]


def test_a_full_navigation_stays_as_it_is():
    assert navigation([{"Home": ["index.md"]}], ["index.md"]) == [{"Home": ["index.md"]}]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('<a href="gone.html">x</a>', "gone.html: not there"),
        ('<a href="#two">x</a>', "#two: no such anchor"),
        ('<a href="other.html#two">x</a>', "other.html#two: no such anchor"),
        ('<img src="gone.png">', "gone.png: not there"),
        ('<a href="../secret.html">x</a>', "../secret.html: not there"),
        ('<script src="https://cdn.example/x.js"></script>', "loaded from another host"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "loaded from another host"),
    ],
)
def test_a_broken_link_is_found(tmp_path, body, why):
    (tmp_path / "secret.html").write_text(PAGE)
    html = tmp_path / "html"
    html.mkdir()
    (html / "index.html").write_text(PAGE.format(body))
    (html / "other.html").write_text(PAGE)
    (defect,) = broken_links(html)
    assert defect.startswith("index.html: ")
    assert why in defect


def test_sound_links_are_let_pass(tmp_path):
    links = [
        "other.html",
        "other.html#one",
        "#top",
        "https://example.org",
        "folder/",
        "mailto:a@example.org",
        "a%20b.html",
    ]
    (tmp_path / "index.html").write_text(PAGE.format("".join(f'<a href="{link}">x</a>' for link in links)))
    (tmp_path / "other.html").write_text(PAGE)
    (tmp_path / "a b.html").write_text(PAGE)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/index.html").write_text(PAGE)
    assert broken_links(tmp_path) == []


@pytest.mark.skipif(importlib.util.find_spec("zensical") is None, reason="needs zensical (the extra `docs`)")
def test_the_site_is_built_without_a_warning_or_a_broken_link(gathered):
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(gathered)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stdout + done.stderr
    html = gathered.parent / "html"
    assert broken_links(html) == []
    text = (html / "reference/experiment.html").read_text()
    assert re.search(r"<code>batch_size</code>.*?whole number &gt; 0", text, re.DOTALL)
