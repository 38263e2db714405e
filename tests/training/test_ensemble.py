"""Ensembles of trained toy experiments: what they predict, what they are scored, what is refused."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from cv_pipelines.config.ensemble import EnsembleConfig
from cv_pipelines.data.datasets import SampleDataset
from cv_pipelines.data.encoding import decode_png
from cv_pipelines.data.measures import measure
from cv_pipelines.data.schema import Categories, categories_of
from cv_pipelines.error_analysis.analyse import analyse
from cv_pipelines.errors import ContractError
from cv_pipelines.plots.ensemble import draw
from cv_pipelines.training import ensemble
from cv_pipelines.training.ensemble import Member
from cv_pipelines.training.leaderboard import collect, contract_key
from cv_pipelines.training.predict import predict
from cv_pipelines.training.score import coco_form, score

TASKS = ["activity", "classification", "detection", "segmentation"]


def other(checkpoint, seed, amount=0.3, **meta):
    """The same model with other weights, as another seed would give it."""
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: value + amount * torch.randn(value.shape, generator=generator) * value.std(correction=0)
        if value.is_floating_point() and not name.endswith("running_var")
        else value
        for name, value in checkpoint.state.items()
    }
    changed = checkpoint.meta.model_copy(update={"seed": seed, "fingerprint": f"{seed}", **meta})
    return replace(checkpoint, meta=changed, states={"best": state, "last": state})


@pytest.fixture(scope="module")
def make(trained, experiment, sources):
    """Builds a member: `seeds` models of a task that differ, scored by themselves."""
    scored = {}

    def build(task, name="one", seeds=(0,), evaluate=None, inputs=None, own=None):
        config = experiment(task, evaluate=own or {}, **({"inputs": inputs} if inputs else {}))
        base = trained(task)[0][0]
        meta = base.meta
        if inputs:
            preprocessing = meta.preprocessing.model_copy(update={"size": inputs["size"]})
            meta = meta.model_copy(update={"preprocessing": preprocessing})
        if task == "detection":  # after two epochs a detector is sure of nothing
            changed = meta.options | {"score_threshold": 0.0, "max_detections": 20}
            meta = meta.model_copy(update={"options": changed})
        base = replace(base, meta=meta)
        # so few epochs leave a segmenter with one class; much noise gives masks that differ
        amount = 4.0 if task == "segmentation" else 0.3
        checkpoints = {seed: base if seed == 0 else other(base, seed, amount) for seed in seeds}
        key = (task, tuple(seeds), str(own), str(inputs))
        if key not in scored:
            table = predict(config, sources[task], checkpoints)
            scored[key] = table, score(name, config, table, sources[task], checkpoints, {})[0]
        return Member(name, config, checkpoints, scored[key][1]["contract"]), *scored[key]

    return build


def config_of(*members, weights=None, **evaluate):
    return EnsembleConfig(members=[m.name for m in members], weights=weights, evaluate=evaluate)


def predicted(members, sources, task, weights=None, **evaluate):
    return ensemble.predict(config_of(*members, weights=weights, **evaluate), list(members), sources[task])


@pytest.mark.parametrize("task", TASKS)
def test_one_alone_gives_its_own_predictions_to_the_last_bit(make, sources, task):
    member, table, _ = make(task)
    fused, own = predicted([member], sources, task, weights=[0.3])
    expected = table.drop(columns="seed")
    assert len(fused)
    pd.testing.assert_frame_equal(fused, expected, check_exact=True)
    pd.testing.assert_frame_equal(own, expected.assign(member="one", seed=0), check_exact=True)


@pytest.mark.parametrize("task", TASKS)
def test_models_alone_are_predicted_as_in_their_experiment(make, sources, task):
    member, table, _ = make(task, seeds=(0, 1, 2))
    _, own = predicted([member], sources, task)
    assert own["member"].unique().tolist() == ["one"]
    pd.testing.assert_frame_equal(own.drop(columns="member"), table, check_exact=True)


@pytest.mark.parametrize("task", ["activity", "classification"])
def test_probabilities_are_the_weighted_mean_of_those_of_all_models(make, sources, task):
    (one, first, _), (two, second, _) = make(task, "one", (0, 1)), make(task, "two", (2,))
    fused, _ = predicted([one, two], sources, task, weights=[1.0, 3.0])
    a, b = (np.stack(list(first[first["seed"] == seed]["probabilities"])) for seed in (0, 1))
    c = np.stack(list(second["probabilities"]))
    assert np.abs(a - c).max() > 0.01  # they do not agree anyway
    assert np.stack(list(fused["probabilities"])) == pytest.approx((a + b + 3 * c) / 5, abs=1e-6)


def test_masks_are_of_the_mean_probability_at_the_size_of_the_image(make, sources):
    """The models see images of different sizes; the reference runs each by hand."""
    data = sources["segmentation"]
    members = [
        make("segmentation", "one", (1,))[0],
        make("segmentation", "two", (2,), inputs={"size": [8, 8]})[0],
    ]
    fused, own = predicted(members, sources, "segmentation", weights=[1.0, 2.0])
    part = data.only("test")
    differs = 0
    for place, png in enumerate(fused["mask"]):
        maps = []
        for member, size in zip(members, (None, [8, 8]), strict=True):
            (checkpoint,) = member.checkpoints.values()
            image = SampleDataset(part, "none", size)[place]["image"].float()
            mean, std = (
                torch.tensor(v).view(-1, 1, 1) for v in (data.statistics["mean"], data.statistics["std"])
            )
            x = ((image - mean) / std)[None]
            h, w = x.shape[-2:]
            with torch.inference_mode():
                x = torch.nn.functional.pad(x, (0, -w % 32, 0, -h % 32), mode="replicate")
                chances = checkpoint.build()(x)[..., :h, :w].softmax(dim=1)
                maps.append(torch.nn.functional.interpolate(chances, (16, 16), mode="bilinear")[0])
        mean = (maps[0] + 2 * maps[1]) / 3
        sure = (mean[0] - mean[1]).abs() > 1e-4  # where rounding decides nothing
        assert torch.equal(
            torch.from_numpy(decode_png(png).copy())[sure], mean.argmax(dim=0)[sure].to(torch.uint8)
        )
        differs += int((mean.argmax(dim=0) != maps[0].argmax(dim=0)).sum())
    assert differs > 10  # of the first model's masks
    assert len(own) == 2 * len(fused)


def test_boxes_are_fused_and_what_one_missed_counts_less(make, sources):
    (one, table, _), (two, _, _) = make("detection", "one"), make("detection", "two")
    silent = other(two.checkpoints[0], 1, 0.0)
    options = silent.meta.options | {"score_threshold": 1.0}
    silent = replace(silent, meta=silent.meta.model_copy(update={"options": options}))
    fused, own = predicted(
        [one, replace(two, checkpoints={1: silent})], sources, "detection", weights=[1.0, 3.0]
    )
    assert own["member"].unique().tolist() == ["one"]
    best = table.loc[table.groupby("sample_id")["score"].idxmax()].set_index("sample_id")["score"]
    found = fused.groupby("sample_id")["score"].max()
    assert len(found) == 2
    assert found.to_numpy() == pytest.approx(best.loc[found.index].to_numpy() / 4, rel=0.3)
    assert (found < best.loc[found.index]).all()


def test_detectors_that_find_nothing_have_scores_files_and_a_report(make, sources, tmp_path):
    member = make("detection")[0]
    options = member.checkpoints[0].meta.options | {"score_threshold": 1.0}
    silent = other(member.checkpoints[0], 0, 0.0, options=options)
    member, data = replace(member, checkpoints={0: silent}), sources["detection"]
    config = config_of(member)
    tables = []
    for table, name in zip(ensemble.predict(config, [member], data), ("fused", "own"), strict=True):
        table.to_parquet(tmp_path / name)
        tables.append(pd.read_parquet(tmp_path / name))
    metrics, details, samples = ensemble.score("both", config, [member], *tables, data, {})
    assert metrics["values"]["map_50"] == 0.0
    part = data.only("test")
    assert coco_form(part, tables[0])[1]["bbox"] == []
    errors = analyse("both", "detection", tables[0], part, measure(part))
    page, *_ = draw(part, tables[0], metrics, details, samples, errors, "map_50")
    assert "the same as the mean of its models" in page


@pytest.mark.parametrize("task", TASKS)
def test_the_order_of_members_changes_nothing(make, sources, task):
    one, two, three = (make(task, f"m{seed}", (seed,))[0] for seed in (0, 1, 2))
    forth, _ = predicted([one, two, three], sources, task, weights=[1, 2, 3])
    back, _ = predicted([three, two, one], sources, task, weights=[3, 2, 1])
    assert close(forth, back, task)
    assert not close(forth, predicted([one, two, three], sources, task, weights=[3, 2, 1])[0], task)


def close(one, two, task):
    """Whether two tables say the same but for the last digits."""
    if task == "segmentation":
        pairs = zip(one["mask"], two["mask"], strict=True)
        return np.mean([(decode_png(a) != decode_png(b)).mean() for a, b in pairs]) < 0.002
    if len(one) != len(two):
        return False
    if task == "detection":
        columns = ["category", "score", "x", "y", "w", "h"]
        return np.allclose(one[columns].to_numpy(float), two[columns].to_numpy(float), rtol=1e-6, atol=1e-6)
    return np.allclose(np.stack(list(one["probabilities"])), np.stack(list(two["probabilities"])), atol=1e-6)


@pytest.mark.parametrize("task", ["activity", "classification", "segmentation"])
def test_members_that_are_the_same_change_nothing(make, sources, task):
    one, two = (make(task, name)[0] for name in ("one", "two"))
    alone, _ = predicted([one], sources, task)
    assert close(predicted([one, two], sources, task)[0], alone, task)


def test_the_views_are_those_of_the_ensemble(make, sources):
    member, table, _ = make("classification")
    _, flipped, _ = make("classification", own={"flip": True})
    fused, own = predicted([member], sources, "classification", flip=True)
    expected = np.stack(list(flipped["probabilities"]))
    assert np.stack(list(fused["probabilities"])) == pytest.approx(expected, abs=1e-6)
    assert np.stack(list(own["probabilities"])) == pytest.approx(expected, abs=1e-6)
    assert np.abs(expected - np.stack(list(table["probabilities"]))).max() > 1e-3


@pytest.fixture(scope="module")
def scored(make, sources):
    def run(task, weights=None, **evaluate):
        members = [make(task, "one", (0, 1))[0], make(task, "two", (2,))[0]]
        config = config_of(*members, weights=weights, **evaluate)
        tables = ensemble.predict(config, members, sources[task])
        return ensemble.score("both", config, members, *tables, sources[task], {})

    return run


class TestScores:
    """`metrics.json` of an ensemble."""

    @pytest.mark.parametrize("task", TASKS)
    def test_the_form_is_that_of_an_experiment_without_a_spread(self, make, scored, task, tmp_path):
        metrics, details, samples = scored(task)
        _, _, single = make(task, "one", (0, 1))
        assert single.keys() - metrics.keys() == {"seeds"}
        assert metrics["values"].keys() == single["values"].keys() == metrics["spread"].keys()
        assert set(metrics["spread"].values()) == {None}
        assert metrics["contract"] == single["contract"]  # so the leaderboard ranks them together
        assert contract_key(metrics) == contract_key(single)
        assert metrics["seconds"] > 0
        assert set(samples.columns) == {"sample_id", "score", "note"}
        json.dumps([metrics, details], allow_nan=False)
        (tmp_path / "both").mkdir()
        (tmp_path / "both" / "metrics.json").write_text(json.dumps(metrics))
        board = collect(tmp_path)
        assert board["experiment"].tolist() == ["both"]
        assert board["spread"].isna().all()

    @pytest.mark.parametrize("task", TASKS)
    def test_members_are_scored_as_in_their_own_experiments(self, make, scored, task):
        members = scored(task)[0]["members"]
        assert list(members) == ["one", "two"]
        for name, seeds in (("one", (0, 1)), ("two", (2,))):
            single = make(task, name, seeds)[2]
            assert members[name] == {"weight": 1.0, **{k: single[k] for k in ("values", "spread", "seeds")}}

    def test_the_log_loss_is_not_above_the_mean_of_the_models(self, scored):
        metrics, _, _ = scored("classification")
        losses = [s["nll"] for m in metrics["members"].values() for s in m["seeds"].values()]
        assert len(set(losses)) == 3
        assert metrics["values"]["nll"] < sum(losses) / 3

    def test_the_contract_says_which_views(self, scored):
        plain, flipped = scored("classification")[0], scored("classification", flip=True)[0]
        assert (plain["contract"]["flip"], flipped["contract"]["flip"]) == (False, True)
        assert contract_key(plain) != contract_key(flipped)

    def test_the_fingerprint_is_of_models_weights_views_and_the_scored_data(self, make, sources):
        one, two = make("classification", "one", (0, 1))[0], make("classification", "two", (2,))[0]
        data = sources["classification"]

        def of(*members, weights=None, **evaluate):
            configs = {member.name: member.config for member in members}
            metas = {m.name: {seed: c.meta for seed, c in m.checkpoints.items()} for m in members}
            config = config_of(*members, weights=weights, **evaluate)
            return ensemble.provenance_of(config, configs, metas, data).fingerprint

        assert of(one, two) == of(two, one) == of(one, two, batch_size=3)
        others = [
            of(one),
            of(one, two, weights=[1.0, 2.0]),
            of(one, two, flip=True),
            of(one, two, split="val"),
        ]
        assert len({of(one, two), *others}) == 5
        whole = of(one, two)
        samples = data.samples.copy()
        samples.at[0, "content_hash"] = "other"  # of the train split: it is in the models' fingerprints
        data = replace(data, samples=samples)
        assert of(one, two) == whole
        samples.at[39, "content_hash"] = "other"
        assert of(one, two) != whole


class TestRefused:
    """Models that were not trained or scored alike do not predict together."""

    def test_members_scored_under_other_contracts(self, make, sources):
        one, two = make("classification", "one")[0], make("classification", "two", (1,))[0]
        stricter = replace(two, contract=two.contract | {"classes": ["left", "up"]})
        expected = r"members one and two .* differ in 'classes': \['left', 'right'\] and \['left', 'up'\]"
        with pytest.raises(ContractError, match=expected):
            predicted([one, stricter], sources, "classification")
        missing = replace(two, contract={k: v for k, v in two.contract.items() if k != "protocol"})
        with pytest.raises(ContractError, match="'protocol': 'standard' and None"):
            predicted([one, missing], sources, "classification")

    def test_other_views_are_no_matter_for_the_ensemble_has_its_own(self, make, sources):
        one = make("classification", "one")[0]
        two = make("classification", "two", (1,), own={"flip": True, "scales": [1.0, 2.0]})[0]
        assert one.contract != two.contract
        assert len(predicted([one, two], sources, "classification")[0]) == 8

    def test_a_checkpoint_of_other_classes(self, make, sources):
        member = make("classification")[0]
        swapped = Categories(labels=categories_of(["right", "left"]))
        stale = other(member.checkpoints[0], 4, categories=swapped)
        expected = r"one, seed 4 .* other 'labels classes' .*\['right', 'left'\] and \['left', 'right'\]"
        with pytest.raises(ContractError, match=expected):
            predicted([replace(member, checkpoints={4: stale})], sources, "classification")

    def test_scores_of_another_number_of_samples(self, make, sources):
        member = make("classification")[0]
        stale = replace(member, contract=member.contract | {"n": 7})
        with pytest.raises(ContractError, match=r"one was scored with other 'n' .* 7 and 8; run it again"):
            predicted([stale], sources, "classification")
        # the other split says nothing of this one
        assert len(predicted([stale], sources, "classification", split="val")[0]) == 8
