"""Explanations of trained toy classifiers: which samples, which maps, and that they come back the same."""

import numpy as np
import pandas as pd
import pytest

from cv_pipelines.data.encoding import decode_png
from cv_pipelines.data.measures import measure
from cv_pipelines.error_analysis.analyse import analyse
from cv_pipelines.error_analysis.explain import CHANNELS, COLUMNS, choose, explain
from cv_pipelines.plots.explanations import cam_figure, features_figure
from cv_pipelines.training.fit import Job, fit
from cv_pipelines.training.predict import predict


@pytest.fixture(scope="module")
def explained(experiment, sources, tmp_path_factory):
    """Config, data, predictions, errors and explanations by task."""
    found = {}
    for task in ("activity", "classification"):
        config, data = experiment(task, train={"epochs": 1}), sources[task]
        checkpoints, _ = fit(Job("toy", config, data, tmp_path_factory.mktemp(task) / "fit"))
        predictions, part = predict(config, data, checkpoints), data.only("test")
        errors = analyse("toy", task, predictions, part, measure(part))
        maps = explain(config, data, checkpoints[0], predictions, errors)
        found[task] = config, data, checkpoints[0], predictions, errors, maps
    return found


@pytest.mark.parametrize("task", ["activity", "classification"])
def test_the_worst_come_first_and_every_map_is_whole(explained, task):
    *_, errors, maps = explained[task]
    assert list(maps.columns) == COLUMNS
    ids = maps["sample_id"].drop_duplicates().tolist()
    assert ids == [worst["sample_id"] for worst in errors["worst"]]  # there are no more than eight
    assert set(maps["why"]) == {"worst"}
    said = maps[maps["what"] == "predicted"]
    assert said["sample_id"].tolist() == ids
    grids = [decode_png(png) for png in maps["map"]]
    assert all(grid.dtype == np.uint8 and grid.ndim == 2 for grid in grids)
    peaks = zip(grids, maps["peak"], strict=True)
    assert all(grid.max() == 255 for grid, peak in peaks if peak > 0)
    if task == "activity":
        assert {grid.shape[0] for grid in grids} == {1}


def test_the_true_class_is_explained_where_it_was_not_said(explained):
    _, data, _, predictions, _, maps = explained["classification"]
    table = predictions.set_index("sample_id")["probabilities"]
    samples = data.samples.set_index("sample_id")["labels"]
    wrong = {i for i in table.index if int(np.argmax(table[i])) != samples[i][0]}
    assert set(maps.loc[maps["what"] == "true", "sample_id"]) == wrong
    names = data.categories.names("labels")
    said = maps[maps["what"] == "predicted"].set_index("sample_id")["name"]
    assert all(said[i] == names[int(np.argmax(table[i]))] for i in said.index)


def test_feature_maps_of_two_samples_from_the_first_layer_to_the_last(explained):
    *_, maps = explained["classification"]
    features = maps[maps["what"] == "features"]
    assert features["sample_id"].nunique() == 2
    sizes = features["map"].map(lambda png: decode_png(png).shape)
    layers = features.assign(size=sizes).groupby("name", sort=False)["size"].unique()
    assert [list(size) for size in layers] == [[(16, 16)], [(8, 8)]]  # two stages
    assert features.groupby(["sample_id", "name"]).size().max() <= CHANNELS


def test_they_come_back_the_same_from_parquet_and_can_be_drawn(explained, tmp_path):
    for config, data, checkpoint, predictions, errors, maps in explained.values():
        again = explain(config, data, checkpoint, predictions, errors)
        pd.testing.assert_frame_equal(maps, again)
        maps.to_parquet(tmp_path / "explanations.parquet")
        stored = pd.read_parquet(tmp_path / "explanations.parquet")
        part = data.only("test")
        assert len(cam_figure(stored, part).layout.images) == len(errors["worst"])
        drawn = stored[stored["what"] == "features"].groupby(["sample_id", "name"]).ngroups
        assert len(features_figure(stored, part).layout.images) == drawn


def test_a_model_without_maps_is_said_to_have_none(explained):
    _, data, *_, maps = explained["classification"]
    text = cam_figure(maps.iloc[:0], data.only("test")).layout.annotations[0].text
    assert text == "no data: the model has no layer that gives maps"


def test_others_are_drawn_by_the_seed():
    ids, errors = [f"s{i}" for i in range(100)], {"worst": [{"sample_id": f"s{i}"} for i in range(48)]}
    chosen = choose(ids, errors, seed=0)
    assert [i for i, why in chosen.items() if why == "worst"] == ids[:8]
    others = [i for i, why in chosen.items() if why == "other"]
    assert len(others) == 8
    assert not set(others) & set(ids[:8])
    assert choose(ids, errors, seed=0) == chosen
    assert choose(ids, errors, seed=1) != chosen
