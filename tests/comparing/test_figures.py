"""Resampled figures against the project's own scoring of a data set in which samples repeat."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from cv_pipelines.comparing.classification import MultiLabel
from cv_pipelines.comparing.figures import FIGURES, figures
from cv_pipelines.config import Evaluate
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.data.encoding import encode_png
from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table
from cv_pipelines.metrics import coco, coco_form
from cv_pipelines.plots.meanings import score_meaning
from cv_pipelines.tasks import TASKS, task_class


def source(n, groups=None, labels=None, **columns):
    """N samples of the split `test`."""
    rows = [
        {
            "sample_id": f"s{i:03d}",
            "row": i,
            "split": "test",
            "group": groups[i] if groups else f"g{i}",
            "labels": labels[i] if labels else [],
            "content_hash": f"{i:032x}",
            **{name: values[i] for name, values in columns.items()},
        }
        for i in range(n)
    ]
    return samples_table(rows)


def repeated(weights, table, key="sample_id"):
    """A table whose samples occur as often as their weight says, under ids of their own."""
    parts = []
    for copy in range(int(max(weights.values(), default=0))):
        part = table[table[key].map(weights) > copy]
        parts.append(part.assign(**{key: part[key] + f"_{copy}"}))
    return pd.concat(parts, ignore_index=True)


def scored_again(task, data, predictions, weights):
    """The task's own scores of the repeated data set."""
    by_id = dict(zip(data.samples["sample_id"], weights, strict=True))
    more = replace(data, samples=repeated(by_id, data.samples).sort_values("sample_id", ignore_index=True))
    if len(data.annotations):
        objects = repeated(by_id, data.annotations)
        more = replace(more, annotations=objects.assign(annotation_id=range(len(objects))))
    found = predictions if predictions.empty else repeated(by_id, predictions)
    order = "sample_id" if task != "detection" else ["sample_id", "score"]
    found = found.sort_values(order, ignore_index=True, kind="stable") if len(found) else found
    return task_class(task).score(found, more, Evaluate())


def check(task, data, predictions, weights, metrics=None):
    made = figures(task, predictions, data)
    theirs = scored_again(task, data, predictions, weights).values
    for metric in metrics or [m for m in made.metrics if np.isfinite(theirs.get(m, np.nan))]:
        both = np.stack([weights, np.ones(len(weights))]).astype(float)
        ours = made.measure(metric, both)[0][0]
        assert ours == pytest.approx(theirs[metric], abs=1e-9, nan_ok=True), metric


WEIGHTS = st.lists(st.integers(0, 3), min_size=12, max_size=12).filter(any)


@settings(max_examples=40, deadline=None)
@given(WEIGHTS, st.integers(0, 100))
def test_classification(weights, seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(7), 12).astype(np.float32)
    probabilities[:3] = 1 / 7  # ties
    labels = rng.integers(0, 7, 12)
    groups = [f"p{i % 3}" for i in range(12)]
    samples = source(12, groups, [[int(v)] for v in labels])
    data = SourceData(
        samples, annotations_table([]), Categories(labels=categories_of(list("abcdefg"))), {}, None
    )
    predictions = pd.DataFrame({"sample_id": samples["sample_id"], "probabilities": list(probabilities)})
    for task in ("classification", "activity"):
        check(task, data, predictions.sample(frac=1, random_state=seed), weights)


def test_a_class_has_the_figure_of_its_own_samples():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    samples = source(4, None, [[0], [0], [1], [1]])
    data = SourceData(
        samples, annotations_table([]), Categories(labels=categories_of(["no", "yes"])), {}, None
    )
    predictions = pd.DataFrame({"sample_id": samples["sample_id"], "probabilities": list(probabilities)})
    made = figures("classification", predictions, data)
    assert made.counts == [2, 2]
    assert made.measure("accuracy", np.ones((1, 4)))[1].tolist() == [[0.5, 1.0]]
    # a resample without the class leaves its figure undefined
    assert np.isnan(made.measure("nll", np.array([[0.0, 0, 2, 2]]))[1][0]).tolist() == [True, False]
    # precision 1, recall 1/2; precision 2/3, recall 1
    assert made.measure("macro_f1", np.ones((1, 4)))[1] == pytest.approx(np.array([[2 / 3, 0.8]]))


@settings(max_examples=40, deadline=None)
@given(WEIGHTS, st.integers(0, 100))
def test_several_labels(weights, seed):
    rng = np.random.default_rng(seed)
    probabilities = np.round(rng.random((12, 3)), 1)  # ties
    targets = rng.random((12, 3)) < 0.5
    made = MultiLabel(probabilities, [np.flatnonzero(row) for row in targets], ["a", "b", "c"])
    _, classes = made.measure("map", np.array([weights], float))
    for c in range(3):
        known = (targets[:, c] * weights).sum() > 0
        theirs = (
            average_precision_score(targets[:, c], probabilities[:, c], sample_weight=weights)
            if known
            else np.nan
        )
        assert classes[0, c] == pytest.approx(theirs, nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(WEIGHTS, st.integers(0, 100))
def test_segmentation(weights, seed):
    rng = np.random.default_rng(seed)
    masks = rng.choice([0, 1, 2, 255], (12, 5, 6)).astype(np.uint8)
    samples = source(12, width=[6] * 12, height=[5] * 12)
    categories = Categories(mask=categories_of(["a", "b", "c", "never"]))
    data = SourceData(samples, annotations_table([]), categories, {"images": masks, "masks": masks}, None)
    guesses = [encode_png(rng.integers(0, 4 if seed % 2 else 3, (5, 6)).astype(np.uint8)) for _ in range(12)]
    check("segmentation", data, pd.DataFrame({"sample_id": samples["sample_id"], "mask": guesses}), weights)


@settings(max_examples=10, deadline=None)
@given(WEIGHTS, st.integers(0, 100))
def test_reconstruction(weights, seed):
    rng = np.random.default_rng(seed)
    images, guesses = (rng.integers(0, 256, (12, 12, 12), dtype=np.uint8) for _ in range(2))
    samples = source(12, width=[12] * 12, height=[12] * 12)
    data = SourceData(samples, annotations_table([]), Categories(), {"images": images}, None)
    pictures = pd.DataFrame({"sample_id": samples["sample_id"], "image": [encode_png(g) for g in guesses]})
    check("autoencoder", data, pictures, weights)


@settings(max_examples=20, deadline=None)
@given(WEIGHTS, st.integers(0, 100))
def test_landmarks(weights, seed):
    rng = np.random.default_rng(seed)
    samples = source(12, width=[60] * 12, height=[30] * 12)
    objects = []
    for i in range(0, 12, 2 if seed % 2 else 1):
        points = np.concatenate([rng.uniform(0, 30, (3, 2)), rng.integers(0, 3, (3, 1))], axis=1)
        row = {"sample_id": samples["sample_id"].iat[i], "category": 0, "x": 1, "y": 2, "w": 20, "h": 25}
        objects.append({**row, "area": 500, "keypoints": points.ravel().tolist()})
    (ball,) = categories_of(["ball"])
    categories = Categories(objects=[ball.model_copy(update={"keypoints": ["a", "b", "c"]})])
    data = SourceData(samples, annotations_table(objects), categories, {}, None)
    found = [rng.uniform(0, 30, 9).tolist() for _ in range(12)]
    rows = {"sample_id": samples["sample_id"], "score": rng.random(12), "keypoints": found}
    check("landmarks", data, pd.DataFrame(rows), weights)
    made = figures("landmarks", pd.DataFrame(rows), data)
    details = task_class("landmarks").score(pd.DataFrame(rows), data, Evaluate()).details["per_point"]
    classes = made.measure("mean_error", np.ones((1, 12)))[1][0]
    assert classes == pytest.approx([row["mean_error"] or np.nan for row in details], nan_ok=True)
    assert made.counts == [row["n"] for row in details]


def scenes(seed, images=12):
    """Objects of three sizes and two classes, some of them crowds, and detections near them."""
    rng = np.random.default_rng(seed)
    objects, found = [], []
    for i in range(images):
        for _ in range(rng.integers(0, 5)):
            w, h = rng.choice([20, 60, 150], 2)
            x, y = rng.integers(0, 200, 2)
            category = int(rng.integers(0, 2))
            objects.append(
                {"sample_id": f"s{i:03d}", "category": category, "x": x, "y": y, "w": w, "h": h,
                 "area": w * h, "iscrowd": bool(rng.random() < 0.1)}
            )  # fmt: skip
            for _ in range(rng.integers(0, 3)):
                dx, dy = rng.normal(0, 0.12, 2) * (w, h)
                box = {"x": x + dx, "y": y + dy, "w": w * rng.uniform(0.8, 1.2), "h": float(h)}
                found.append({"sample_id": f"s{i:03d}", "category": category, "score": rng.random(), **box})
        for _ in range(rng.integers(0, 3)):
            box = dict(zip("xywh", rng.uniform(20, 150, 4), strict=True))
            found.append(
                {"sample_id": f"s{i:03d}", "category": int(rng.integers(0, 2)), "score": rng.random(), **box}
            )
    samples = source(images, width=[400] * images, height=[400] * images)
    categories = Categories(objects=categories_of(["ball", "box"]))
    columns = ["sample_id", "category", "score", *"xywh"]
    return SourceData(samples, annotations_table(objects), categories, {}, None), pd.DataFrame(
        found, columns=columns
    )


@settings(max_examples=30, deadline=None)
@given(WEIGHTS, st.integers(0, 1000))
def test_detection_is_what_pycocotools_says_of_repeated_images(weights, seed):
    data, found = scenes(seed)
    check("detection", data, found, weights)


def test_a_detectors_classes_and_sizes_are_those_of_pycocotools():
    data, found = scenes(5)
    made = figures("detection", found, data)
    truth = coco_form.ground_truth(data.samples, data.annotations, data.categories)
    values, details = coco.coco_scores(truth, coco_form.results(found, truth))
    once = np.ones((1, len(data.samples)))
    assert made.measure("map", once)[1][0] == pytest.approx([row["ap"] for row in details["per_class"]])
    assert made.measure("map_50", once)[1][0] == pytest.approx([row["ap_50"] for row in details["per_class"]])
    assert [v[0] for v in made.sizes("map", once).values()] == pytest.approx(
        [values["map_small"], values["map_medium"], values["map_large"]], nan_ok=True
    )
    assert made.counts == [row["n"] for row in details["per_class"]]
    assert sum(made.size_counts.values()) == sum(made.counts)


def test_a_detector_that_finds_nothing_scores_zero():
    data, found = scenes(5)
    made = figures("detection", found[:0], data)
    assert made.measure("map_50", np.ones((2, 12)))[0].tolist() == [0.0, 0.0]
    assert json.dumps(dict(made.size_counts))


@pytest.mark.parametrize("task", sorted(FIGURES))
def test_the_direction_is_that_of_the_reports(task):
    module = __import__(FIGURES[task].split(":")[0], fromlist=["x"])
    for kind in vars(module).values():
        for metric in getattr(kind, "metrics", ()):
            assert (score_meaning(metric).better == "lower") == (metric in kind.lower), metric


def test_every_task_but_the_gan_can_be_compared():
    assert TASKS.keys() - FIGURES.keys() == {"gan"}
