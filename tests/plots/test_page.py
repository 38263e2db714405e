"""Pages: offline, escaped, complete, ranked only within a contract."""

import base64
import json
import math
import os
import re
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cv_pipelines.plots.classification import group_bars
from cv_pipelines.plots.defects import OF_A_REASON, quarantine_block, thumbnail
from cv_pipelines.plots.leaderboard import duration
from cv_pipelines.plots.page import Section, data_page, index_page, report_page

EVIL = "</script><script>alert('x')</script><b>&"
VOID = {"meta", "link", "br", "img", "input"}
COLUMNS = [
    "experiment",
    "task",
    "source",
    "score_name",
    "score",
    "seconds",
    "device",
    "contract_key",
    "report",
]
QUARANTINE = ["file", "reason", "action", "detail"]


class Page(HTMLParser):
    """Checks that tags are nested, and collects tags, table rows, links and visible text."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.tags, self.rows, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "script" in self.stack or "style" in self.stack:
            return
        self.text += data
        if "td" in self.stack or "th" in self.stack:
            self.rows[-1][-1] += data

    def values(self, tag, name):
        return [attrs[name] for kind, attrs in self.tags if kind == tag and name in attrs]


def leaderboard(rows, spread=0.0):
    return pd.DataFrame(rows, columns=COLUMNS).assign(spread=spread)


@pytest.fixture(scope="module")
def report():
    scores = {"accuracy": 0.9312, "ece": None, "nll": math.nan, "iou/road": 0.5}
    contract = {"source": "uci_har", "n": 2996, "classes": [f"c{i}" for i in range(30)], EVIL: EVIL}
    sections = [
        Section("Per subject", f"One.\n\nTwo {EVIL}", group_bars({"1": 0.5, EVIL: 0.7})),
        Section("Per subject", "", group_bars({})),
        Section("Words only", "words"),
    ]
    return report_page(f"exp {EVIL}", EVIL, scores, contract, sections, [EVIL])


@pytest.fixture(scope="module")
def parsed(report):
    return Page(report)


@pytest.fixture(autouse=True)
def _short_script(monkeypatch):
    """Spare the tests 5 MB of script a page; `report` is made before this and has the real one."""
    monkeypatch.setattr("cv_pipelines.plots.document.get_plotlyjs", lambda: "/* plotly.js v0 */")


class TestReport:
    def test_is_well_formed_and_fetches_nothing(self, parsed):
        assert parsed.values("script", "src") == []
        assert parsed.values("link", "href") == ["data:,"]
        assert parsed.values("img", "src") == []
        assert all(href.startswith("#") for href in parsed.values("a", "href"))
        assert "default-src 'none'" in parsed.values("meta", "content")[0]

    def test_plotly_is_inlined_once_and_uploads_nothing(self, report):
        assert report.count("plotly.js v") == 1
        assert len(report) > 3_000_000
        assert report.count('"showSendToCloud": false') == 2

    def test_text_from_data_is_escaped_everywhere(self, report, parsed):
        assert "<script>alert" not in report
        assert parsed.text.count(EVIL) >= 5

    def test_every_section_has_an_anchor_of_its_own(self, parsed):
        anchors = parsed.values("section", "id")
        assert anchors == [
            "scores",
            "what-these-numbers-mean",
            "per-subject",
            "per-subject-2",
            "words-only",
            "notes",
        ]
        assert parsed.values("a", "href") == [f"#{anchor}" for anchor in anchors]

    def test_scores_and_contract_stand_in_tables(self, parsed):
        rows = {row[0]: row for row in parsed.rows if row}
        assert rows["accuracy"][1] == "0.9312"
        assert "higher is better" in rows["accuracy"][3]
        assert rows["ece"][1] == rows["nll"][1] == "n/a"
        assert rows["n"][1] == "2,996"
        assert rows["classes"][1].endswith("… and 18 more")

    def test_same_input_same_page(self):
        pages = {report_page("t", "s", {}, {}, [Section("h", "", group_bars({"a": 1.0}))]) for _ in range(2)}
        assert len(pages) == 1

    def test_nothing_to_report(self):
        text = Page(report_page("", "", {}, {}, [])).text
        assert text.count("no data") == 2


class TestIndex:
    def test_ranks_only_within_a_contract(self):
        rows = [
            ("a", "classification", "digits", "accuracy", 0.9, 1.0, "cpu", "k1", "a/report.html"),
            ("b", "classification", "digits", "accuracy", 0.95, 1.0, "cpu", "k1", "b/report.html"),
            ("c", "classification", "digits", "accuracy", 0.1, 1.0, "cpu", "k2", "c/report.html"),
            ("d", "classification", "digits", "accuracy", 0.9, 1.0, "cpu", "k1", None),
            ("e", "classification", "digits", "accuracy", None, None, "cpu", "k1", None),
            ("f", "classification", "digits", "accuracy", 0.99, 1.0, "cpu", None, None),
        ]
        page = Page(index_page(leaderboard(rows)))
        ranks = {row[1]: row[0] for row in page.rows if row and row[1] != "experiment"}
        assert ranks == {"b": "1", "a": "2", "d": "2", "e": "–", "c": "1", "f": "–"}
        assert "different contracts" in page.text
        assert "a/report.html" in page.values("a", "href")

    def test_lower_is_better_for_distances(self):
        rows = [
            (n, "gan", "digits", "fid_digits", s, 1.0, "cpu", "k", None) for n, s in (("a", 9.0), ("b", 3.0))
        ]
        page = Page(index_page(leaderboard(rows)))
        assert [row[:2] for row in page.rows[1:]] == [["1", "b"], ["2", "a"]]
        assert "different contracts" not in page.text

    def test_scores_over_several_seeds_say_their_spread(self):
        rows = [
            ("a", "t", "digits", "accuracy", 0.9, 1.0, "cpu", "k1", None),
            ("b", "t", "digits", "accuracy", 0.8, 1.0, "cpu", "k1", None),
            ("c", "t", "letters", "accuracy", 0.7, 1.0, "cpu", "k2", None),
        ]
        text = index_page(leaderboard(rows, spread=[0.0123, 0.0, 0.0]))
        first, second = [row for row in Page(text).rows if row[0] == "rank"]
        assert first[3:5] == ["accuracy (higher is better)", "± over seeds"]
        assert "± over seeds" not in second
        assert {row[1]: row[4] for row in Page(text).rows if row[1] in "ab"} == {"a": "0.0123", "b": "–"}
        assert "0.900 ± 0.012" in text

    def test_tasks_have_sections_and_scores_charts_of_their_own(self):
        rows = [
            ("a", "detection", "voc", "map", 0.3, 1.0, "cpu", "k", None),
            ("b", "detection", "voc", "voc_map", 0.4, 1.0, "cpu", "k", None),
            ("c", "activity", "har", "accuracy", 0.9, 1.0, "cpu", "k", None),
        ]
        text = index_page(leaderboard(rows))
        page = Page(text)
        assert page.values("section", "id") == ["activity", "detection"]
        ids = [i for i in page.values("div", "id") if i.startswith("bars_")]
        assert ids == ["bars_0_0", "bars_1_0", "bars_1_1"]
        assert text.count("plotly.js v") == 1

    @pytest.mark.parametrize("path", ["javascript:alert(1)", "http://example.org/x", '"><script>'])
    def test_links_cannot_leave_the_folder(self, path):
        page = Page(index_page(leaderboard([(EVIL, EVIL, EVIL, EVIL, 1.0, 1.0, EVIL, EVIL, path)])))
        (href,) = [h for h in page.values("a", "href") if not h.startswith("#")]
        assert not re.match(r"^[a-z]+:", href)
        assert [tag for tag, _ in page.tags].count("script") == 2

    def test_empty_leaderboard(self):
        assert "no experiment has been scored yet" in Page(index_page(leaderboard([]))).text

    def test_many_runs_are_cut_with_a_statement(self):
        rows = [(f"e{i}", "t", "s", "accuracy", i / 60, 1.0, "cpu", "k", None) for i in range(60)]
        text = index_page(leaderboard(rows))
        assert "and 10 more" in Page(text).text
        assert "and 20 more in the tables" in text


class TestData:
    def page(self, facts, rows=(), root=None):
        quarantine = quarantine_block(pd.DataFrame(rows, columns=QUARANTINE), root)
        return Page(data_page("voc", "", {"samples": "1,234"}, facts, [], quarantine))

    def test_facts_and_quarantine_rows(self):
        rows = [(f"{i}.jpg", "empty file", "dropped", EVIL) for i in range(70)]
        rows += [("b.jpg", "CMYK image", "repaired", "")]
        facts = {"licence": EVIL, "ok": True, "year": 2012, "people": {"train": 2100, "test": 9}}
        page = self.page(facts, rows)
        assert ["licence", EVIL] in page.rows
        assert ["ok", "yes"] in page.rows
        assert ["year", "2012"] in page.rows
        assert ["people", "train: 2,100, test: 9"] in page.rows
        assert ["empty file", "dropped", "left out", "70"] in page.rows
        assert ["", "b.jpg", "CMYK image", "repaired", ""] in page.rows
        assert sum(len(row) > 1 and row[1].endswith(".jpg") for row in page.rows) == OF_A_REASON + 1
        assert "all 71 on disk" in page.text

    def test_clean_source(self):
        assert "every file was usable" in self.page({}).text

    def test_pictures_among_the_defects_are_shown_as_far_as_they_can_be_read(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "whole.jpg")
        (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:6000])
        Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
        (tmp_path / "text.jpg").write_bytes(b"<html>")
        (tmp_path / "folder.jpg").mkdir()
        os.mkfifo(tmp_path / "pipe.jpg")
        for name in ("whole.jpg", "cut.jpg", "deep.png"):
            head, data = thumbnail(tmp_path, name).split(",", 1)
            picture = np.asarray(Image.open(BytesIO(base64.b64decode(data))))
            assert head == "data:image/jpeg;base64"
            assert picture[:20].std() > 20
        for name in ("text.jpg", "folder.jpg", "pipe.jpg", "none.jpg", "nul\0.jpg"):
            assert thumbnail(tmp_path, name) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.84, "0.8 s"),
        (59.99, "1 min 00 s"),
        (192, "3 min 12 s"),
        (7500, "2 h 05 min"),
        (None, "n/a"),
        (math.nan, "n/a"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_figure_json_in_a_page_can_be_read_back():
    text = report_page("t", "", {}, {}, [Section("h", "", group_bars({"a": 0.25}))])
    data = re.search(r'Plotly\.newPlot\(\s*"plot_1",\s*(\[.*?\]),\s*\{"', text, re.DOTALL)
    assert data is not None
    assert json.loads(data.group(1))[0]["x"] == [0.25]
