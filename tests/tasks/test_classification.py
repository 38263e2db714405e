"""Scores of classification and activity from hand-made predictions, and the rows a model gives."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cv_pipelines.config import Evaluate
from cv_pipelines.data.datasets import SampleDataset, SourceData
from cv_pipelines.data.preprocessing import Preprocessing
from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table
from cv_pipelines.tasks import task_class
from cv_pipelines.tasks.activity import Activity
from cv_pipelines.tasks.base import Context
from cv_pipelines.tasks.classification import Classification


def source(labels, groups=None, classes=3, multi_label=False):
    rows = [
        {"sample_id": f"s{i}", "split": "test", "group": g, "labels": v, "content_hash": f"{i}"}
        for i, (v, g) in enumerate(zip(labels, groups or [f"g{i}" for i in range(len(labels))], strict=True))
    ]
    names = categories_of(["a", "b", "c", "d", "e", "f", "g"][:classes])
    return SourceData(
        samples_table(rows), annotations_table([]), Categories(labels=names, multi_label=multi_label)
    )


def predicted(rows, order=None):
    ids = [f"s{i}" for i in order or range(len(rows))]
    return pd.DataFrame({"sample_id": ids, "probabilities": [np.float32(r) for r in rows]})


def sure(classes, n=3):
    return np.eye(n)[classes]


LABELS = [[0], [1], [2], [0]]


def test_perfect_predictions():
    found = Classification.score(predicted(sure([0, 1, 2, 0])), source(LABELS), Evaluate())
    expected = {"accuracy": 1.0, "top5_accuracy": 1.0, "macro_f1": 1.0, "nll": 0.0, "ece": 0.0}
    assert found.values == pytest.approx(expected, abs=1e-6)
    assert found.details["confusion"] == [[2, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert found.contract == {"classes": ["a", "b", "c"]}
    assert found.samples["score"].tolist() == [1.0] * 4


def test_all_wrong():
    rows = sure([1, 2, 0, 1], n=7)
    found = Classification.score(predicted(rows), source(LABELS, classes=7), Evaluate())
    assert found.values["accuracy"] == 0.0
    assert found.values["macro_f1"] == 0.0
    assert found.values["nll"] > 20
    assert found.values["ece"] == pytest.approx(1.0)
    assert found.samples["note"].tolist() == ["a → b", "b → c", "c → a", "a → b"]


def test_a_case_by_hand():
    rows = [[0.6, 0.3, 0.1], [0.5, 0.4, 0.1]]  # right at 0.6, wrong at 0.5
    found = Classification.score(predicted(rows), source([[0], [1]]), Evaluate())
    assert found.values["accuracy"] == 0.5
    assert found.values["nll"] == pytest.approx(-(math.log(0.6) + math.log(0.4)) / 2, abs=1e-6)
    assert found.values["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert found.values["ece"] == pytest.approx((0.4 + 0.5) / 2, abs=1e-6)


def test_the_order_of_the_table_does_not_matter():
    rows = sure([0, 1, 2, 1])
    one = Classification.score(predicted(rows), source(LABELS), Evaluate())
    order = [3, 1, 0, 2]
    two = Classification.score(predicted(rows[order], order), source(LABELS), Evaluate())
    assert two.values == one.values
    assert one.values["accuracy"] == 0.75
    assert two.samples["sample_id"].tolist() == ["s3", "s1", "s0", "s2"]
    assert two.samples["score"].tolist() == [0.0, 1.0, 1.0, 1.0]


class TestSubjects:
    """Activity reports the subject it serves worst."""

    data = source([[0], [1], [0], [1], [0], [1]], ["ann", "ann", "bob", "bob", "eve", "eve"])

    def test_the_worst_subject(self):
        predictions = predicted(sure([0, 1, 1, 0, 0, 0]))
        found = Activity.score(predictions, self.data, Evaluate())
        assert found.details["groups"] == {"ann": 1.0, "bob": 0.0, "eve": 0.5}
        assert found.values["worst_subject_accuracy"] == 0.0
        assert found.values["accuracy"] == 0.5

    def test_one_window_a_subject_leaves_it_undefined(self):
        found = Activity.score(predicted(sure([0, 1])), source([[0], [1]]), Evaluate())
        assert math.isnan(found.values["worst_subject_accuracy"])
        assert "groups" not in found.details

    def test_plain_classification_does_not_report_it(self):
        predictions = predicted(sure([0, 1, 1, 0, 0, 0]))
        found = Classification.score(predictions, self.data, Evaluate())
        assert "worst_subject_accuracy" not in found.values
        assert found.details["groups"]["bob"] == 0.0


class TestMultiLabel:
    """Several labels a sample."""

    data = source([[0, 1], [1], []], classes=2, multi_label=True)

    def test_perfect(self):
        found = Classification.score(predicted([[0.9, 0.8], [0.1, 0.7], [0.2, 0.3]]), self.data, Evaluate())
        assert found.values == {"map": 1.0, "macro_f1": 1.0}
        assert found.samples["score"].tolist() == pytest.approx([0.8, 0.7, 0.7])

    def test_a_case_by_hand(self):
        # class 0: positive ranks second of three; class 1: positives rank first and second
        found = Classification.score(predicted([[0.6, 0.9], [0.8, 0.6], [0.1, 0.7]]), self.data, Evaluate())
        assert found.values["map"] == pytest.approx((1 / 2 + (1 + 2 / 3) / 2) / 2)
        assert found.values["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)

    def test_the_task_reads_all_labels_and_watches_map(self, experiment, image_source):
        many = replace(
            image_source, categories=image_source.categories.model_copy(update={"multi_label": True})
        )
        one, several = (make(experiment("classification"), data) for data in (image_source, many))
        assert (one.target, one.monitor) == ("label", "val_accuracy")
        assert (several.target, several.monitor) == ("labels", "val_map")
        batch = batch_of(SampleDataset(many, "labels"), range(4))
        expected = nn.functional.binary_cross_entropy(several.probabilities(batch), batch["label"])
        several.log = lambda *args, **kwargs: None
        assert torch.allclose(several.training_step(batch, 0), expected, atol=1e-5)
        sums = several.probabilities(batch).sum(dim=1)
        assert not torch.allclose(sums, torch.ones(4), atol=1e-3)


class Halves(nn.Module):
    """Logits are the mean of the left and of the right half."""

    def forward(self, x):
        return torch.stack([x[..., :8].mean(dim=(1, 2, 3)), x[..., 8:].mean(dim=(1, 2, 3))], dim=1)


def make(config, data):
    context = Context(config, data, Preprocessing(size=None, mean=[0.0], std=[50.0]))
    return task_class(config.task)(Halves(), context, **config.loss).eval()


def batch_of(dataset, indices):
    return Classification.collate([dataset[i] for i in indices])


def test_rows_hold_an_id_and_a_probability_a_class(experiment, image_source):
    task = make(experiment("classification"), image_source)
    part = image_source.only("test")
    task.evaluate_on(part)
    rows = task.predict_rows(batch_of(SampleDataset(part, "none"), [2, 0, 5]))
    assert [row["sample_id"] for row in rows] == ["s34", "s32", "s37"]
    for row in rows:
        assert set(row) == {"sample_id", "probabilities"}
        assert row["probabilities"].dtype == np.float32
        assert row["probabilities"].sum() == pytest.approx(1)
    assert [int(row["probabilities"].argmax()) for row in rows] == [0, 0, 1]


def test_flip_averages_with_the_mirror_image(experiment, image_source):
    plain = make(experiment("classification"), image_source)
    flipped = make(experiment("classification", evaluate={"flip": True}), image_source)
    batch = batch_of(SampleDataset(image_source, "none"), range(4))
    assert plain.probabilities(batch).max() > 0.9
    # Mirroring swaps the halves, so both classes end up equal.
    assert torch.allclose(flipped.probabilities(batch), torch.full((4, 2), 0.5), atol=1e-5)


def test_label_smoothing_is_in_the_loss(experiment, image_source):
    batch = batch_of(SampleDataset(image_source, "label"), range(6))
    losses = []
    for smoothing in (0.0, 0.3):
        task = make(experiment("classification", loss={"label_smoothing": smoothing}), image_source)
        task.log = lambda *args, **kwargs: None
        logits = task.model(task.inputs(batch))
        expected = nn.functional.cross_entropy(logits, batch["label"], label_smoothing=smoothing)
        losses.append(float(task.training_step(batch, 0)))
        assert losses[-1] == pytest.approx(float(expected))
    assert losses[1] > losses[0]


def test_unknown_task_names_those_there_are():
    with pytest.raises(KeyError, match=r"no task 'clasification'.*activity.*segmentation"):
        task_class("clasification")


class Width(nn.Module):
    """Sure of the class that the width of the image names: 0 for 16 pixels, 1 for any other."""

    def forward(self, x):
        sure = torch.tensor([20.0, 0.0] if x.shape[-1] == 16 else [0.0, 20.0])
        return sure.expand(len(x), 2)


class TestViews:
    """Averages over sizes and the mirror image."""

    def probabilities(self, experiment, image_source, model, **evaluate):
        task = make(experiment("classification", evaluate=evaluate), image_source)
        task.model = model
        return task.probabilities(batch_of(SampleDataset(image_source, "none"), range(3)))

    def test_sizes_count_alike(self, experiment, image_source):
        for scales, share in (([1.0], 0), ([2.0], 1), ([1.0, 2.0], 1 / 2), ([0.5, 1.0, 1.5], 2 / 3)):
            found = self.probabilities(experiment, image_source, Width(), scales=scales)
            assert found.tolist() == [pytest.approx([1 - share, share], abs=1e-6)] * 3

    def test_all_views_change_nothing_for_a_model_that_sees_the_mean(self, experiment, image_source):
        class Mean(nn.Module):
            def forward(self, x):
                return torch.stack([x.mean(dim=(1, 2, 3)), -x.mean(dim=(1, 2, 3))], dim=1)

        plain = self.probabilities(experiment, image_source, Mean())
        assert plain.std(dim=0).min() > 1e-4
        flipped = self.probabilities(experiment, image_source, Mean(), flip=True)
        assert torch.allclose(plain, flipped, atol=1e-6)
        views = self.probabilities(experiment, image_source, Mean(), flip=True, scales=[1.0, 2.0])
        assert torch.allclose(plain, views, atol=1e-2)  # a resize keeps the mean, but for rounding at the rim

    def test_sizes_are_in_the_contract_where_they_are_asked_for(self):
        predictions, data = predicted(sure([0, 1, 2, 0])), source(LABELS)
        assert "scales" not in Classification.score(predictions, data, Evaluate()).contract
        scaled = Classification.score(predictions, data, Evaluate(scales=[1.0, 1.5]))
        assert scaled.contract == {"classes": ["a", "b", "c"], "scales": [1.0, 1.5]}
