"""Years and what was new: one place says it, and the docs say the same."""

import re
from pathlib import Path

import pytest

from cv_pipelines.models import MODELS
from cv_pipelines.models.origins import ORIGINS

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROW = re.compile(r"^\| `(\w+)` \| (\d{4}) \| (.+?) \|", re.MULTILINE)


def test_each_is_of_a_model_there_is():
    assert ORIGINS.keys() <= MODELS.keys()


@pytest.mark.parametrize("page", ["detection.md", "yolo.md"])
def test_the_docs_say_the_same(page):
    rows = ROW.findall((DOCS / page).read_text(encoding="utf8"))
    assert rows
    for name, year, told in rows:
        assert ORIGINS[name].year == int(year), name
        assert told.startswith(ORIGINS[name].novelty), name


def test_the_docs_leave_none_out():
    told = "".join((DOCS / page).read_text(encoding="utf8") for page in ("detection.md", "yolo.md"))
    assert {name for name, *_ in ROW.findall(told)} == ORIGINS.keys()
