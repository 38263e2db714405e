"""Charts: what is drawn, what is left out and said to be, and that nothing breaks on empty input."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_pipelines.plots.bars import LIMIT, ranked_bars
from cv_pipelines.plots.classification import calibration, confusion, group_bars, per_class
from cv_pipelines.plots.curves import curves
from cv_pipelines.plots.detection import ap_bars, figures, pr_curves, proposal_curve
from cv_pipelines.plots.segmentation import iou_bars
from cv_pipelines.plots.source import box_sizes, class_bars, image_sizes, pixel_bars, split_bars
from cv_pipelines.plots.theme import WRONG

NAN = math.nan


def message(figure):
    return figure.layout.annotations[0].text


def history(rows):
    return pd.DataFrame(rows, columns=["seed", "epoch", "name", "value"])


def class_row(name, f1, support):
    return {"name": name, "precision": f1, "recall": f1, "f1": f1, "support": support}


DETAILS = {
    "classes": ["cat", "dog", "cow"],
    "per_class": [
        {"name": "cat", "ap": 0.4, "ap_50": 0.5, "n": 3},
        {"name": "dog", "ap": 0.8, "ap_50": 1.0, "n": 9},
        {"name": "cow", "ap": None, "ap_50": None, "n": 0},
    ],
    "pr_curves": {
        "cat": {"recall": [0.0, 0.5, 1.0], "precision": [1.0, 0.5, 0.0]},
        "dog": {"recall": [0.0, 0.5, 1.0], "precision": [1.0, 1.0, 1.0]},
    },
}


class TestCurves:
    def test_one_line_a_seed_and_split_in_one_panel_a_quantity(self):
        names = ["train_loss", "val_loss", "val_accuracy", "lr"]
        rows = [(s, e, n, 0.5) for s in (0, 1) for e in (2, 0, 1) for n in names]
        figure = curves(history(rows))
        assert [a.text for a in figure.layout.annotations] == ["loss", "accuracy", "lr"]
        assert len(figure.data) == 8
        assert all(list(line.x) == [0, 1, 2] for line in figure.data)
        train, val = (next(t for t in figure.data if t.name.startswith(s)) for s in ("train", "val"))
        assert train.line.color != val.line.color
        assert {t.line.dash for t in figure.data if t.name.startswith("val")} == {"solid", "dot"}

    def test_legend_names_every_line_once(self):
        figure = curves(history([(0, 0, n, 1.0) for n in ("train_loss", "val_loss", "val_accuracy")]))
        assert sorted(t.name for t in figure.data if t.showlegend) == ["train", "val"]

    def test_values_that_are_no_numbers_leave_a_gap(self):
        figure = curves(
            history([(0, 0, "val_loss", 1.0), (0, 1, "val_loss", NAN), (0, 2, "val_loss", math.inf)])
        )
        assert figure.data[0].y == (1.0, None, None)

    def test_empty_history(self):
        assert message(curves(history([]))) == "no data: the history is empty"


class TestRankedBars:
    def test_best_on_top_and_unknown_at_the_bottom(self):
        figure = ranked_bars(["a", "b", "c"], [0.2, NAN, 0.9], "t", "x")
        assert figure.layout.yaxis.ticktext == ("c", "a", "b")
        assert figure.data[0].text == ("0.900", "0.200", "n/a")
        assert figure.layout.yaxis.autorange == "reversed"

    def test_equal_names_keep_bars_of_their_own(self):
        figure = ranked_bars(["crane", "crane"], [0.1, 0.2], "t", "x")
        assert figure.data[0].y == (0, 1)

    def test_many_classes_are_cut_and_the_subtitle_says_so(self):
        figure = ranked_bars([f"c{i}" for i in range(1000)], [i / 1000 for i in range(1000)], "t", "x")
        assert len(figure.data[0].x) == LIMIT
        assert max(figure.data[0].x) == 0.999
        assert min(figure.data[0].x) == 0.0
        assert "960 between not shown" in figure.layout.title.subtitle.text

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.none() | st.floats(0, 1) | st.just(NAN), max_size=90))
    def test_never_fails_and_never_draws_more_than_the_limit(self, values):
        figure = ranked_bars([f"c{i}" for i in range(len(values))], values, "t", "x")
        assert all(len(trace.x) <= LIMIT for trace in figure.data)
        assert all(list(trace.x) == sorted(trace.x, reverse=True) for trace in figure.data)

    def test_names_and_values_must_fit(self):
        with pytest.raises(ValueError, match="zip"):
            ranked_bars(["a"], [1.0, 2.0], "t", "x")


class TestConfusion:
    def test_right_is_positive_and_wrong_negative_share_of_the_true_class(self):
        figure = confusion(np.array([[3, 1], [0, 4]]), ["cat", "dog"])
        assert [list(row) for row in figure.data[0].z] == [[0.75, -0.25], [0.0, 1.0]]
        assert "1 of 4 (25.0%)" in figure.data[0].hovertext[0][1]
        assert list(figure.data[0].text[0]) == ["3", "1"]
        assert "87.5% on the diagonal" in figure.layout.title.subtitle.text

    def test_counts_of_pixels_are_written_as_shares(self):
        figure = confusion(np.array([[3_000_000, 1_000_000], [0, 4]]), ["road", "sky"], unit="pixels")
        assert [list(row) for row in figure.data[0].text] == [["75.0%", "25.0%"], ["", "100.0%"]]
        assert "4,000,004 pixels" in figure.layout.title.subtitle.text

    def test_of_many_classes_the_most_confused_are_shown(self):
        matrix = np.diag(np.full(1000, 10))
        matrix[700, 5] = 9
        figure = confusion(matrix, [f"c{i}" for i in range(1000)])
        assert len(figure.data[0].z) == 40
        assert {"c700", "c5"} <= set(figure.layout.yaxis.ticktext)
        assert "40 most confused of 1000" in figure.layout.title.subtitle.text

    def test_class_without_samples_and_class_names_with_markup(self):
        figure = confusion(np.array([[0, 0], [1, 1]]), ["<i>", "b"])
        assert list(figure.data[0].z[0]) == [0.0, 0.0]
        assert figure.layout.xaxis.ticktext[0] == "&lt;i&gt;"

    def test_empty_and_misfit(self):
        assert message(confusion(np.zeros((3, 3)), ["a", "b", "c"])).startswith("no data:")
        assert message(confusion(np.zeros((0, 0)), [])).startswith("no data:")
        with pytest.raises(ValueError, match="2 classes"):
            confusion(np.ones((3, 3)), ["a", "b"])


class TestClassification:
    def test_calibration_draws_the_diagonal_the_model_and_the_counts(self):
        figure = calibration([{"confidence": 0.9, "accuracy": 0.7, "count": 10}], ece=0.2)
        assert [t.type for t in figure.data] == ["scatter", "scatter", "bar"]
        assert (figure.data[1].x, figure.data[1].y, figure.data[2].y) == ((0.9,), (0.7,), (10,))
        assert "0.200" in figure.layout.title.subtitle.text

    def test_calibration_without_samples(self):
        assert message(calibration([])).startswith("no data:")
        assert message(calibration([{"confidence": NAN, "accuracy": NAN, "count": 0}])).startswith("no data:")

    def test_per_class_leaves_classes_without_samples_out_of_the_mean(self):
        figure = per_class([class_row("a", 0.5, 4), class_row("b", 0.7, 2), class_row("c", 0.0, 0)])
        assert figure.data[0].text == ("0.700", "0.500", "n/a")
        assert figure.layout.shapes[0].x0 == pytest.approx(0.6)
        assert message(per_class([])).startswith("no data:")

    def test_worst_groups_are_highlighted(self):
        figure = group_bars({"s1": 0.9, "s2": 0.5, "s3": 0.5, "s4": None})
        colors = dict(zip(figure.layout.yaxis.ticktext, figure.data[0].marker.color, strict=True))
        assert [n for n, c in colors.items() if c == WRONG] == ["s2", "s3"]
        assert message(group_bars({"s1": NAN})) == "no data: no subject was scored"


class TestDetection:
    def test_mean_curve_lies_on_top(self):
        figure = pr_curves(DETAILS)
        assert figure.data[-1].name == "mean of the classes"
        assert figure.data[-1].y == (1.0, 0.75, 0.5)
        assert "AP 1.000" in figure.data[-2].name

    def test_only_the_classes_with_most_boxes_are_named(self):
        many = {
            "per_class": [{"name": f"c{i}", "ap": 0.5, "ap_50": 0.5, "n": i + 1} for i in range(30)],
            "pr_curves": {f"c{i}": {"recall": [0.0, 1.0], "precision": [1.0, 0.0]} for i in range(30)},
        }
        figure = pr_curves(many)
        named = [t.name for t in figure.data if t.showlegend]
        assert len(named) == 8
        assert named[-1].startswith("c29")

    def test_average_precision_and_its_mean(self):
        figure = ap_bars(DETAILS)
        assert figure.layout.yaxis.ticktext == ("dog (9)", "cat (3)", "cow (0)")
        assert figure.layout.shapes[0].x0 == pytest.approx(0.6)

    def test_masks_poses_and_proposals_are_drawn_where_there_are_any(self):
        proposals = {"n": [1, 10, 100], "all": [0.2, 0.5, 0.9], "small": [None] * 3}
        proposals |= {"medium": [0.1, 0.4, 0.8], "large": [0.3, 0.6, 1.0]}
        assert [heading for heading, _, _ in figures(DETAILS)] == [
            "Precision and recall",
            "Average precision",
        ]
        drawn = figures(DETAILS | {"masks": DETAILS, "keypoints": DETAILS, "proposals": proposals})
        headings = [heading for heading, _, _ in drawn]
        assert headings[2:] == [
            *("Masks", "Masks: average precision", "Poses", "Poses: average precision"),
            "Recall by number of boxes",
        ]
        assert "true masks" in drawn[3][2].layout.title.subtitle.text
        assert [line.name.split(",")[0] for line in drawn[-1][2].data] == ["all objects", "medium", "large"]
        assert drawn[-1][2].data[0].y == (0.2, 0.5, 0.9)

    def test_no_recall_without_objects(self):
        nothing = {key: [None] for key in ("all", "small", "medium", "large")} | {"n": [1]}
        assert message(proposal_curve(nothing)) == "no data: there is no true box"

    @pytest.mark.parametrize("details", [{}, {"per_class": [], "pr_curves": {}}, {"pr_curves": None}])
    def test_without_objects(self, details):
        assert message(pr_curves(details)).startswith("no data:")
        assert message(ap_bars(details)).startswith("no data:")


def test_iou_bars_mean_and_absent_classes():
    figure = iou_bars(["road", "sky", "sign"], [0.8, 0.4, NAN], [(1, 2, 3), None, None])
    assert figure.layout.shapes[0].x0 == pytest.approx(0.6)
    assert figure.data[0].marker.color[0] == "#010203"
    assert "1 of 3" in figure.layout.title.subtitle.text
    assert message(iou_bars([], [])).startswith("no data:")


class TestSource:
    samples = pd.DataFrame({"sample_id": ["a", "b"], "width": [100, 0], "height": [50, 0]})

    def test_split_bars_state_shares(self):
        assert split_bars({"train": 3, "test": 1}).data[0].text == ("3 (75%)", "1 (25%)")
        assert message(split_bars({"train": 0})).startswith("no data:")

    def test_class_bars_by_total(self):
        figure = class_bars(["a", "b"], {"train": [1, 5], "test": [1, 0]})
        assert figure.layout.yaxis.ticktext == ("b", "a")
        assert [(t.name, t.x) for t in figure.data] == [("train", (5, 1)), ("test", (0, 1))]
        with pytest.raises(ValueError, match="3 counts"):
            class_bars(["a"], {"train": [1, 2, 3]})

    def test_class_bars_of_many_and_of_no_classes(self):
        figure = class_bars([str(i) for i in range(200)], {"train": list(range(200))})
        assert len(figure.data[0].x) == LIMIT
        assert message(class_bars([], {})).startswith("no data:")
        assert message(class_bars([], {"train": []})).startswith("no data:")

    def test_box_sizes_are_relative_and_all_counted(self):
        boxes = pd.DataFrame({"sample_id": ["a"] * 9000, "w": [50.0] * 9000, "h": [25.0] * 9000})
        figure = box_sizes(boxes, self.samples)
        assert (figure.data[0].x[0], figure.data[0].y[0]) == (0.5, 0.5)
        assert len(figure.data[0].x) == 4000
        assert sum(figure.data[1].y) == sum(figure.data[2].y) == 9000

    def test_box_sizes_without_objects_or_sizes(self):
        none = pd.DataFrame({"sample_id": [], "w": [], "h": []})
        unsized = pd.DataFrame({"sample_id": ["b"], "w": [1.0], "h": [1.0]})
        assert message(box_sizes(none, self.samples)).startswith("no data:")
        assert message(box_sizes(unsized, self.samples)).startswith("no data:")

    def test_pixel_bars_are_shares_and_largest_on_top(self):
        figure = pixel_bars({"sky": 0.25, "road": 0.75, "pole": 0.0001})
        assert figure.layout.yaxis.ticktext == ("road", "sky", "pole")
        assert figure.data[0].text == ("75.0%", "25.0%", "0.010%")
        assert len(pixel_bars({str(i): 0.01 for i in range(200)}).data[0].x) == LIMIT
        assert message(pixel_bars({"sky": 0.0})).startswith("no data:")

    def test_image_sizes_are_a_dot_a_size(self):
        sizes = pd.DataFrame({"width": [100, 100, 50, 0], "height": [80, 80, 60, 0]})
        figure = image_sizes(sizes)
        dots = zip(figure.data[0].x, figure.data[0].y, figure.data[0].customdata, strict=True)
        assert set(dots) == {(100, 80, 2), (50, 60, 1)}
        assert message(image_sizes(sizes.iloc[3:])).startswith("no data:")
