"""The error report of every task: one form, figures that agree with the scores, and cases by hand."""

import json
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from cv_pipelines.config import Evaluate
from cv_pipelines.data.encoding import encode_png
from cv_pipelines.data.landmarks import landmarks_of
from cv_pipelines.data.measures import measure
from cv_pipelines.data.schema import Categories, categories_of
from cv_pipelines.error_analysis.analyse import REPORTS, analyse
from cv_pipelines.error_analysis.classification import mistake_kinds, precision_recall, shared_confusion
from cv_pipelines.error_analysis.form import PARTS, Report
from cv_pipelines.error_analysis.slices import thirds
from cv_pipelines.metrics.classification import multi_label_scores
from cv_pipelines.plots.browse import browse_page
from cv_pipelines.plots.error_report import absences, kinds_figure, sections, slices_figure
from cv_pipelines.plots.experiment import error_sections
from cv_pipelines.plots.predicted import worst_items
from cv_pipelines.tasks import TASKS, task_class


def probabilities_of(data, seed=0):
    n = len(data.categories.labels)
    drawn = np.random.default_rng(seed).dirichlet(np.full(n, 0.6), len(data.samples)).astype(np.float32)
    return pd.DataFrame({"sample_id": data.samples["sample_id"], "probabilities": list(drawn)})


def shifted_boxes(data):
    """Every object found, but by a box that is moved by its row; and a false alarm an image."""
    rows = data.annotations[["sample_id", "category", "x", "y", "w", "h"]].reset_index(drop=True)
    found = rows.assign(score=0.9, x=rows["x"] + 9 * np.arange(len(rows)))
    false = rows.assign(score=0.5, x=50.0, y=1.0, w=9.0, h=9.0)
    return pd.concat([found, false], ignore_index=True)


def noisy_masks(data):
    rng = np.random.default_rng(0)
    masks = [np.where(rng.random((16, 16)) < 0.1, 1, data.mask(i) % 255) for i in range(len(data.samples))]
    pngs = [encode_png(mask.astype(np.uint8)) for mask in masks]
    return pd.DataFrame({"sample_id": data.samples["sample_id"], "mask": pngs})


def darker_images(data):
    pngs = [encode_png((data.read(i)[0].numpy() * 0.8).astype(np.uint8)) for i in range(len(data.samples))]
    return pd.DataFrame({"sample_id": data.samples["sample_id"], "image": pngs})


def generated_images(data):
    del data
    rng = np.random.default_rng(0)
    rows = [
        {"sample_id": f"{name}_{i:05d}", "set": name, "embedding": rng.normal(shift, 1, 4), "embedder": "toy"}
        | {"image": encode_png(np.full((8, 8), i, np.uint8))}
        for name, shift in (("real", 0.0), ("generated", 1.0), ("untrained", 5.0))
        for i in range(20)
    ]
    return pd.DataFrame(rows)


def moved_points(data):
    """The true points, each image's moved farther than the one's before; the first image's mirrored."""
    truth = landmarks_of(data)
    points = truth.points + 4.0 * np.arange(len(truth.points))[:, None, None]
    points[0] = truth.points[0][[1, 0, 2]]
    rows = [np.insert(pose, 2, 1.0, axis=1).ravel().tolist() for pose in points]
    score = np.where(truth.present, 0.9, 0.6)
    return pd.DataFrame({"sample_id": data.samples["sample_id"], "score": score, "keypoints": rows})


PREDICTIONS = {
    "activity": probabilities_of,
    "autoencoder": darker_images,
    "classification": probabilities_of,
    "detection": shifted_boxes,
    "gan": generated_images,
    "landmarks": moved_points,
    "segmentation": noisy_masks,
}


@pytest.fixture(scope="module")
def cases(sources):
    """Data, predictions and errors of each task."""
    made = {}
    for task, predict in PREDICTIONS.items():
        source = sources[task]
        data = source if task in {"detection", "landmarks"} else source.only("test")
        predictions = predict(data)
        made[task] = data, predictions, analyse("toy", task, predictions, data, measure(data))
    return made


def test_every_task_has_a_report():
    assert REPORTS.keys() == TASKS.keys() == PREDICTIONS.keys()


@pytest.mark.parametrize("task", PREDICTIONS)
def test_one_form_for_all(cases, task):
    data, _, errors = cases[task]
    assert list(errors) == ["experiment", "task", "n", *(field.name for field in fields(Report))]
    assert json.loads(json.dumps(errors, allow_nan=False)) == errors
    for part in PARTS:
        assert bool(errors[part]) != (part in errors["absent"]), part
    assert errors["worst"]
    assert all(worst["reason"] and worst["kinds"] for worst in errors["worst"])
    assert errors["n"] == len(data.samples)


@pytest.mark.parametrize("task", PREDICTIONS)
def test_its_figure_is_that_of_the_scores(cases, task):
    data, predictions, errors = cases[task]
    values = task_class(task).score(predictions, data, Evaluate()).values
    assert errors["value"] == pytest.approx(values[errors["metric"]], abs=1e-9)


@pytest.mark.parametrize("task", PREDICTIONS)
def test_all_of_it_can_be_drawn(cases, task):
    data, predictions, errors = cases[task]
    headings = [section.heading for section in sections(errors)]
    assert headings[0] == "Kinds of error"
    assert ("Slices" in headings) == bool(errors["slices"])
    assert ("Confusion" in headings) == bool(errors["confusion"])
    drawn = error_sections(data, predictions, errors, None, ["Confusion", "Calibration"])
    assert [s.heading for s in drawn if s.heading in {"Confusion", "Calibration", "Worst cases"}] == [
        "Worst cases"
    ]
    page = browse_page(data, predictions, errors)
    assert page.count("<figure") == len(errors["worst"])
    assert "plotly" not in page.lower()
    assert len(absences(errors)) == len(errors["absent"])


@pytest.mark.parametrize("task", ["activity", "classification"])
def test_the_kinds_of_a_classifier_cost_all_that_its_accuracy_lacks(cases, task):
    _, _, errors = cases[task]
    assert sum(kind["cost"] for kind in errors["kinds"]) == pytest.approx(1 - errors["value"])
    assert sum(kind["count"] for kind in errors["kinds"]) == pytest.approx(
        (1 - errors["value"]) * errors["n"]
    )


def test_slices_of_a_classifier_by_hand(cases):
    data, predictions, errors = cases["activity"]
    guess = np.stack(list(predictions["probabilities"])).argmax(axis=1)
    right = guess == np.array([labels[0] for labels in data.samples["labels"]])
    found = {(row["slice"], row["name"]): row for row in errors["slices"]}
    for group in data.samples["group"].unique():
        own = right[(data.samples["group"] == group).to_numpy()]
        assert found[("group", group)]["value"] == pytest.approx(own.mean())
        assert found[("group", group)]["difference"] == pytest.approx(own.mean() - right.mean())
        assert found[("group", group)]["n"] == len(own)
    motion = [row for (kind, _), row in found.items() if kind == "motion"]
    assert sum(row["n"] for row in motion) == len(right)
    assert sum(row["n"] * row["value"] for row in motion) == pytest.approx(right.sum())
    assert all(row["low"] <= row["high"] for row in errors["slices"] if row["low"] is not None)


def test_kinds_of_mistakes_by_hand():
    probabilities = np.array(
        [[0.9, 0.1, 0.0], [0.95, 0.03, 0.02], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]]
    )
    labels = np.array([0, 1, 1, 2, 1])
    assert mistake_kinds(probabilities, labels).tolist() == [
        "right",
        "sure",
        "runner-up",
        "far off",
        "runner-up",
    ]


def test_the_worst_are_sorted_by_loss(cases):
    _, predictions, errors = cases["classification"]
    scores = [worst["score"] for worst in errors["worst"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == min(len(predictions), 48)


def test_precision_and_recall_by_hand():
    truth = np.array([[True], [False], [True], [False]])
    curves = precision_recall(np.array([[0.9], [0.8], [0.7], [0.1]]), truth, ["cat"])
    (line,) = curves["lines"]
    at = dict(zip(np.round(line["x"], 2), line["y"], strict=True))
    assert at[0.0] == at[0.5] == 1.0
    assert at[0.51] == at[1.0] == pytest.approx(2 / 3)
    assert line["area"] == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert line["n"] == 2


def test_a_class_that_nothing_is_of_has_no_curve():
    truth = np.array([[True, False], [True, False]])
    assert [line["name"] for line in precision_recall(np.full((2, 2), 0.5), truth, ["a", "b"])["lines"]] == [
        "a"
    ]


def test_confusion_of_several_labels_by_hand():
    truth = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]], dtype=bool)
    said = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0]], dtype=bool)
    wanted = [
        [2, 0.5, 0.5, 0],  # found twice; once taken for the two others
        [0, 0, 1, 0],  # missed where the third was said
        [0, 0, 0, 1],  # missed, and nothing else was said
        [0, 1, 0, 0],  # said where nothing was missed
    ]
    assert shared_confusion(truth, said).tolist() == wanted


def test_several_labels(image_source):
    labels = [[0], [1], [0, 1], [1]] * 10
    categories = Categories(labels=categories_of(["left", "right"]), multi_label=True)
    samples = image_source.samples.assign(labels=pd.Series(labels))
    data = replace(image_source, samples=samples, categories=categories).only("test")
    drawn = np.random.default_rng(3).random((len(data.samples), 2)).astype(np.float32)
    predictions = pd.DataFrame({"sample_id": data.samples["sample_id"], "probabilities": list(drawn)})
    errors = analyse("toy", "classification", predictions, data, measure(data))
    truth = np.stack([np.isin([0, 1], values) for values in data.samples["labels"]])
    assert errors["metric"] == "map"
    assert errors["value"] == pytest.approx(multi_label_scores(drawn, truth)["map"])
    assert {kind["kind"] for kind in errors["kinds"]} == {"missed", "false alarm"}
    assert {row["slice"] for row in errors["slices"]} >= {"class", "labels"}
    assert len(errors["confusion"]["counts"]) == 3
    assert not errors["absent"]
    assert len(error_sections(data, predictions, errors, None, [])) == 6


def test_images_of_a_detector_by_hand(cases):
    data, _, errors = cases["detection"]
    worst = {entry["sample_id"]: entry for entry in errors["worst"]}
    assert len(worst) == 10  # the false alarm is everywhere
    # moved by 0, 9, 18, … of 24 pixels: found, then an IoU of 15/33, then 6/42, then none
    assert worst["s00"]["reason"].startswith("1 of 1 found")
    assert set(worst["s01"]["kinds"]) == {"location", "background"}
    assert "missed" in worst["s03"]["kinds"]
    assert {box["kind"] for box in worst["s00"]["boxes"]} == {"found", "background", "object"}
    scores = [entry["score"] for entry in errors["worst"]]
    assert scores == sorted(scores)
    counts = np.array(errors["confusion"]["counts"])
    assert counts[:-1].sum() == len(data.annotations)  # each object once
    assert counts[:, :-1].sum() == 20  # each detection once
    assert counts[-1, -1] == 0


def test_a_detector_that_found_nothing(box_source):
    data = box_source.only("test")
    errors = analyse("toy", "detection", pd.DataFrame(), data, measure(data))
    assert errors["value"] == 0.0
    assert {k["kind"]: k["count"] for k in errors["kinds"] if k["count"]} == {"missed": len(data.annotations)}
    assert errors["absent"] == {"calibration": "nothing was detected"}
    assert [item.title for item in worst_items(data, pd.DataFrame(), errors, 9)] == [
        f"{sample}: 0 of 1 found; 1 missed" for sample in data.samples["sample_id"]
    ]


def test_a_darker_picture_is_wrong_in_brightness(cases):
    _, _, errors = cases["autoencoder"]
    dearest = max(errors["kinds"], key=lambda kind: kind["cost"])
    assert dearest["kind"] == "brightness"
    assert {row["name"] for row in errors["slices"] if row["slice"] == "class"} == {"left", "right"}


def test_perfect_predictions(sources):
    data = sources["classification"].only("test")
    sure = [np.eye(2, dtype=np.float32)[labels[0]] for labels in data.samples["labels"]]
    predictions = pd.DataFrame({"sample_id": data.samples["sample_id"], "probabilities": sure})
    errors = analyse("toy", "classification", predictions, data, measure(data))
    assert errors["value"] == 1.0
    assert {kind["count"] for kind in errors["kinds"]} == {0}
    assert {worst["kinds"][0] for worst in errors["worst"]} == {"right"}
    assert kinds_figure(errors).data[0].x == (0.0, 0.0, 0.0)
    assert slices_figure(errors).data


def test_thirds_need_three_values():
    assert thirds("light", np.array([1.0, 1.0, 2.0]), ("low", "middle", "high")) == {}
    masks = thirds("light", np.array([1.0, 2.0, 3.0, np.nan]), ("low", "middle", "high"))
    assert [mask.tolist() for mask in masks.values()] == [
        [True, False, False, False],
        [False, True, False, False],
        [False, False, True, False],
    ]


def test_points_of_the_other_side_are_told_from_points_that_are_far_off(cases):
    data, _, errors = cases["landmarks"]
    counts = {kind["kind"]: kind["count"] for kind in errors["kinds"]}
    assert counts["other side"] >= 2  # the two ears of the first image
    first = next(worst for worst in errors["worst"] if worst["sample_id"] == "s00")
    assert first["kinds"] == ["other side"]
    # Nothing is in two images, where something was seen; these come first.
    assert errors["confusion"]["counts"] == [[8, 0], [2, 0]]
    assert [worst["kinds"] for worst in errors["worst"][:2]] == [["false alarm"]] * 2
    assert sum(kind["cost"] for kind in errors["kinds"]) <= errors["value"]
    assert len(data.samples) == 10
