"""`metrics.json`: its keys, the contract, means over seeds, and NaN as null; and the leaderboard."""

import json
import logging
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cv_pipelines.data.encoding import encode_segmentation
from cv_pipelines.data.schema import annotations_table
from cv_pipelines.training import leaderboard
from cv_pipelines.training.predict import predict
from cv_pipelines.training.score import clean, coco_form, score


def predicted(data, accuracies):
    """Sure predictions of the test split; one table a seed, of which a share is right."""
    tables = []
    part = data.only("test").samples
    truth = np.array([labels[0] for labels in part["labels"]])
    for seed, accuracy in accuracies.items():
        guess = np.where(np.arange(len(truth)) < accuracy * len(truth), truth, 1 - truth)
        rows = list(np.eye(2, dtype=np.float32)[guess])
        tables.append(pd.DataFrame({"sample_id": part["sample_id"], "probabilities": rows, "seed": seed}))
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def scored(trained, experiment, sources):
    def run(accuracies, task="classification", facts=None, **sections):
        only = trained(task)[0][0]
        metas = {seed: only.meta.model_copy(update={"seed": seed, "seconds": 2.0}) for seed in accuracies}
        checkpoints = {seed: replace(only, meta=meta) for seed, meta in metas.items()}
        table = predicted(sources[task], accuracies)
        return score("toy", experiment(task, **sections), table, sources[task], checkpoints, facts or {})

    return run


def test_the_keys_are_those_of_the_contract(scored):
    metrics, details, samples = scored({0: 1.0})
    assert list(metrics) == [
        *("experiment", "task", "values", "spread", "seeds", "contract", "fingerprint", "seconds", "device"),
        *("passed_over", "provenance"),
    ]
    assert (metrics["experiment"], metrics["task"]) == ("toy", "classification")
    assert list(metrics["values"]) == ["accuracy", "top5_accuracy", "macro_f1", "nll", "ece"]
    assert metrics["values"]["accuracy"] == 1.0
    assert metrics["spread"]["accuracy"] == 0.0
    assert metrics["device"] == "cpu"
    assert details["confusion"] == [[4, 0], [0, 4]]
    assert len(samples) == 8


def test_the_contract_says_what_the_figures_depend_on(scored):
    contract = scored({0: 1.0})[0]["contract"]
    assert contract == {
        "source": "toy",
        "split": "test",
        "n": 8,
        "protocol": "standard",
        "flip": False,
        "shared_with_other_splits": "nothing",
        "classes": ["left", "right"],
    }


def test_the_contract_counts_what_is_scored(mask_source, experiment, trained):
    config, checkpoints = experiment("segmentation"), trained("segmentation")[0]
    targets = mask_source.samples["target"].where(mask_source.samples["sample_id"] != "s17")
    data = replace(mask_source, samples=mask_source.samples.assign(target=targets))
    predictions = predict(config, data, checkpoints)
    metrics, _, samples = score("toy", config, predictions, data, checkpoints, {})
    assert len(data.only("test").samples) == 4
    assert metrics["contract"]["n"] == len(samples) == 3


def test_what_official_splits_share_is_in_the_contract(scored):
    facts = {
        "shared": {
            "train|test": {"groups": ["video 1"], "samples": ["s32"]},
            "train|val": {"groups": ["video 2"], "samples": []},
        }
    }
    contract = scored({0: 1.0}, facts=facts)[0]["contract"]
    assert contract["shared_with_other_splits"] == {"train|test": ["video 1"]}


def test_figures_are_means_over_seeds(scored):
    metrics, details, _ = scored({4: 1.0, 2: 0.5, 9: 0.0})
    assert metrics["values"]["accuracy"] == pytest.approx(0.5)
    assert metrics["spread"]["accuracy"] == pytest.approx(0.5)  # the sample deviation of 1, 0.5, 0
    assert {seed: v["accuracy"] for seed, v in metrics["seeds"].items()} == {"4": 1.0, "2": 0.5, "9": 0.0}
    assert metrics["seconds"] == 6.0
    assert details["confusion"] == [[4, 0], [0, 4]]  # of the first seed


def test_a_figure_that_is_undefined_is_null(trained, experiment, sources):
    data = sources["activity"]
    alone = replace(data, samples=data.samples.assign(group=data.samples["sample_id"]))
    table = predicted(alone, {0: 1.0})
    metrics, details, _ = score("toy", experiment("activity"), table, alone, trained("activity")[0], {})
    assert metrics["values"]["accuracy"] == 1.0
    assert metrics["values"]["worst_subject_accuracy"] is None  # with a window each, no subject is the worst
    assert metrics["spread"]["worst_subject_accuracy"] is None
    json.dumps([metrics, details], allow_nan=False)


def test_nan_becomes_null(trained, experiment, sources):
    checkpoints = trained("detection")[0]
    metrics, details, _ = score(
        "toy", experiment("detection"), pd.DataFrame({"seed": []}), sources["detection"], checkpoints, {}
    )
    assert metrics["values"]["map"] == 0.0
    assert metrics["values"]["map_large"] is None
    assert metrics["spread"]["map_large"] is None
    assert metrics["seeds"]["0"]["map_large"] is None
    json.dumps([metrics, details], allow_nan=False)


def test_cleaning_keeps_structure_and_values():
    value = {
        1: (np.float32(0.5), [math.inf, None]),
        "n": np.int64(3),
        "t": "x",
        "nan": float("nan"),
        "b": True,
    }
    assert clean(value) == {"1": [0.5, [None, None]], "n": 3, "t": "x", "nan": None, "b": True}


def test_truth_and_results_in_coco_form(box_source):
    part = box_source.only("test")
    rows = part.annotations[["sample_id", "category", "x", "y", "w", "h"]].assign(score=0.5)
    truth, found = coco_form(part, rows)
    results = found["bbox"]
    json.dumps([truth, results], allow_nan=False)
    assert [image["sample_id"] for image in truth["images"]] == ["s08", "s09"]
    assert [r["bbox"] for r in results] == [a["bbox"] for a in truth["annotations"]]
    bare = replace(part, annotations=annotations_table([]))
    assert coco_form(bare, rows.head(0))[1]["bbox"] == []
    assert coco_form(part, pd.DataFrame())[1]["bbox"] == []


class TestLeaderboard:
    """All `metrics.json` as one table."""

    @pytest.fixture
    def reporting(self, scored, tmp_path):
        for name, accuracy in (("b_toy", 1.0), ("a_toy", 0.5)):
            metrics = scored({0: accuracy, 1: accuracy})[0] | {"experiment": name}
            (tmp_path / name).mkdir()
            (tmp_path / name / "metrics.json").write_text(json.dumps(metrics))
        (tmp_path / "a_toy" / "report.html").write_text("")
        return tmp_path

    def test_a_row_an_experiment(self, reporting):
        table = leaderboard.collect(reporting)
        assert list(table.columns) == leaderboard.COLUMNS
        assert table["experiment"].tolist() == ["a_toy", "b_toy"]
        assert table["score_name"].tolist() == ["accuracy"] * 2
        assert table["score"].tolist() == [0.5, 1.0]
        assert table["spread"].tolist() == [0.0, 0.0]
        assert table["report"].iat[0] == "a_toy/report.html"
        assert pd.isna(table["report"].iat[1])
        assert table["contract_key"].nunique() == 1

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "{",
            "[]",
            "null",
            "{}",
            '{"task": "chess"}',
            '{"task": "gan", "values": {}}',
            '{"task": "gan", "values": 3}',
        ],
    )
    def test_a_damaged_file_is_left_out_with_a_warning(self, reporting, content, caplog):
        (reporting / "broken").mkdir()
        (reporting / "broken" / "metrics.json").write_text(content)
        with caplog.at_level(logging.WARNING):
            table = leaderboard.collect(reporting)
        assert table["experiment"].tolist() == ["a_toy", "b_toy"]
        assert "broken/metrics.json is left out" in caplog.text

    def test_an_empty_folder_gives_an_empty_table(self, tmp_path):
        table = leaderboard.collect(tmp_path)
        assert list(table.columns) == leaderboard.COLUMNS
        assert table.empty

    def test_other_contracts_have_other_keys(self, scored):
        test = scored({0: 1.0})[0]
        flipped = scored({0: 1.0}, evaluate={"flip": True})[0]
        assert leaderboard.contract_key(test) != leaderboard.contract_key(flipped)
        assert leaderboard.contract_key(test) == leaderboard.contract_key(scored({0: 0.0})[0])

    @pytest.mark.parametrize(
        ("task", "values", "expected"),
        [
            ("gan", {"kid_digits": 1.0, "fid_digits": 2.0}, ("fid_digits", 2.0)),
            ("classification", {"map": 0.4, "macro_f1": 0.3}, ("map", 0.4)),
            ("detection", {"map": 0.4, "map_50": 0.6}, ("map_50", 0.6)),
        ],
    )
    def test_the_score_that_stands_for_a_task(self, task, values, expected):
        assert leaderboard.main_score({"task": task, "values": values}) == expected


class TestCocoForm:
    """The files that any COCO tool reads."""

    def test_masks_are_results_of_their_own_that_pycocotools_scores(self, box_source):
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        part = box_source.only("test")
        masks = [np.zeros((64, 64), bool) for _ in range(2)]
        found = part.annotations[["sample_id", "category", "x", "y", "w", "h"]].assign(score=0.9)
        for mask, row in zip(masks, found.itertuples(), strict=True):
            mask[int(row.y) : int(row.y + row.h), int(row.x) : int(row.x + row.w)] = True
        texts = [encode_segmentation(mask) for mask in masks]
        data = replace(part, annotations=part.annotations.assign(segmentation=texts))
        truth, results = coco_form(data, found.assign(segmentation=texts))
        assert {kind: len(rows) for kind, rows in results.items()} == {"bbox": 2, "segm": 2, "keypoints": 0}
        assert all("bbox" not in row for row in results["segm"])
        json.dumps([truth, results], allow_nan=False)
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(results["segm"]), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(1.0)

    def test_a_detector_that_found_nothing_has_empty_lists(self, box_source):
        _, results = coco_form(box_source.only("test"), pd.DataFrame())
        assert results == {"bbox": [], "segm": [], "keypoints": []}
