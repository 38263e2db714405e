from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cv_pipelines.config import SplitRule
from cv_pipelines.data.splits import assign_splits, check_leakage
from cv_pipelines.errors import ConfigError, LeakageError


def table_of(groups, labels=None, hashes=None, splits=None):
    count = len(groups)
    labels = labels if labels is not None else [0] * count
    hashes = hashes or [f"h{i}" for i in range(count)]
    splits = splits or ["train"] * count
    return pd.DataFrame(
        {
            "sample_id": [f"s{i:04d}" for i in range(count)],
            "split": splits,
            "group": [str(group) for group in groups],
            "labels": [[] if label is None else [int(label)] for label in labels],
            "content_hash": hashes,
        }
    )


def singles(labels):
    return table_of([f"g{i}" for i in range(len(labels))], labels)


def carved(samples, share=0.2, test=None, seed=0, by="group"):
    rule = SplitRule(by=by, share=share)
    return assign_splits(samples, validation=rule, test=SplitRule(share=test) if test else None, seed=seed)


def class_counts(samples, split):
    return Counter(labels[0] for labels in samples.loc[samples["split"] == split, "labels"])


def test_single_samples_are_stratified_exactly():
    out = carved(singles([0] * 50 + [1] * 30 + [2] * 20), 0.2)
    assert class_counts(out, "val") == {0: 10, 1: 6, 2: 4}
    assert len(out) == 100


def test_small_classes_get_their_remainders_and_the_total_is_met():
    out = carved(singles(np.repeat(np.arange(30), 4)), 0.1)
    counts = class_counts(out, "val")
    assert counts.total() == 12
    assert set(counts.values()) == {1}


def test_a_rare_class_does_not_hinder():
    out = carved(singles([0] * 20 + [1]), 0.25)
    assert 5 <= class_counts(out, "val").total() <= 6


def test_subjects_move_whole_and_the_share_is_near():
    groups = np.repeat([f"subject_{i:02d}" for i in range(20)], 60)
    out = carved(table_of(groups, np.tile(np.arange(6), 200)), 0.2, test=0.25)
    assert out.groupby("group")["split"].nunique().max() == 1
    assert class_counts(out, "test") == dict.fromkeys(range(6), 50)
    assert class_counts(out, "val") == dict.fromkeys(range(6), 30)


def test_groups_of_one_class_each_still_meet_the_total():
    groups = np.repeat(np.arange(10), 10)
    out = carved(table_of(groups, groups), 0.2)
    assert (out["split"] == "val").sum() == 20


def test_official_splits_are_left_alone():
    samples = table_of(list("abcd"), splits=["train", "train", "val", "test"])
    pd.testing.assert_frame_equal(carved(samples, test=0.3), samples)
    pd.testing.assert_frame_equal(assign_splits(samples, validation=None, test=None, seed=0), samples)


def test_validation_is_carved_beside_an_official_test():
    samples = table_of(list("abcdef"), splits=["train"] * 4 + ["test"] * 2)
    out = carved(samples, 0.25, test=0.5)
    assert out["split"].value_counts().to_dict() == {"train": 3, "test": 2, "val": 1}


def test_what_an_official_test_shares_stays_in_train():
    hashes = ["x", "b", "c", "x", "e"]
    for seed in range(6):
        samples = table_of(list("abcdc"), hashes=hashes, splits=["train"] * 3 + ["test"] * 2)
        out = carved(samples, 0.9, seed=seed)
        assert out["split"].tolist() == ["train", "val", "train", "test", "test"]
        facts = check_leakage(out, {("train", "test")})
        assert facts["train|test"]["shared_groups"] == 1


def test_the_input_is_not_changed_and_seeds_differ():
    samples = singles([0, 1] * 50)
    picks = {tuple(carved(samples, seed=seed)["split"]) for seed in range(5)}
    assert len(picks) == 5
    assert set(samples["split"]) == {"train"}


def test_row_order_does_not_matter():
    samples = singles([0, 1, 2] * 20)
    a = carved(samples).set_index("sample_id")["split"]
    b = carved(samples.sample(frac=1, random_state=1)).set_index("sample_id")["split"]
    assert a.to_dict() == b.to_dict()


def test_by_sample_ignores_groups_but_not_content():
    samples = table_of(["one"] * 10, hashes=[f"h{i // 2}" for i in range(10)])
    out = carved(samples, 0.4, by="sample")
    assert (out["split"] == "val").sum() == 4
    assert out.groupby("content_hash")["split"].nunique().max() == 1
    with pytest.raises(LeakageError, match="one"):
        check_leakage(out, set())


@pytest.mark.parametrize("groups", [[], ["a"], ["a", "a"]])
def test_too_few_groups(groups):
    with pytest.raises(ConfigError, match="'val'"):
        carved(table_of(groups))


def test_two_groups_cannot_make_three_splits():
    with pytest.raises(ConfigError, match="'test'"):
        carved(table_of(["a", "b"]), 0.2, test=0.2)


def test_three_groups_make_three_splits_whatever_the_shares():
    out = carved(table_of(["a", "b", "c"]), 0.99, test=0.99)
    assert sorted(out["split"]) == ["test", "train", "val"]


def test_groups_tied_by_content():
    with pytest.raises(LeakageError, match="equal content"):
        carved(table_of(["a", "b"], hashes=["x", "x"]))


def test_train_wholly_shared_with_an_official_test():
    samples = table_of(list("abab"), splits=["train", "train", "test", "test"])
    with pytest.raises(LeakageError, match="official"):
        carved(samples)


def test_samples_without_labels():
    assert (carved(table_of(range(10), [None] * 10), 0.3)["split"] == "val").sum() == 3


@pytest.mark.parametrize("bad", [{"share": 0.0}, {"share": 1.0}, {"share": "0.1"}, {"share": 0.1, "x": 1}])
def test_rules_are_strict(bad):
    with pytest.raises(ValidationError):
        SplitRule(**bad)


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(0, 60)), min_size=1, max_size=60
    ),
    share=st.floats(0.05, 0.6),
    seed=st.integers(0, 5),
)
def test_nothing_is_lost_or_shared(rows, share, seed):
    groups, labels, hashes = zip(*rows, strict=True)
    samples = table_of(groups, labels, [f"h{h}" for h in hashes])
    try:
        out = carved(samples, share, test=share, seed=seed)
    except ConfigError:
        assert len(set(groups)) <= 2
        return
    except LeakageError:
        assert len(set(hashes)) < len(hashes)
        return
    pd.testing.assert_frame_equal(out.drop(columns="split"), samples.drop(columns="split"))
    assert set(out["split"]) == {"train", "val", "test"}
    assert out.groupby("group")["split"].nunique().max() == 1
    assert out.groupby("content_hash")["split"].nunique().max() == 1
    facts = check_leakage(out, set())
    assert all(not f["shared_groups"] and not f["shared_contents"] for f in facts.values())
    assert carved(samples, share, test=share, seed=seed)["split"].tolist() == out["split"].tolist()


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 5), min_size=4, max_size=150),
    share=st.floats(0.05, 0.8),
    seed=st.integers(0, 9),
)
def test_single_samples_meet_share_and_strata(labels, share, seed):
    out = carved(singles(labels), share, seed=seed)
    picked = class_counts(out, "val")
    wanted = min(max(round(share * len(labels)), 1), len(labels) - 1)
    assert picked.total() == wanted
    if 1 < wanted < len(labels) - 1:
        assert all(abs(picked[c] - share * n) < 1.001 for c, n in Counter(labels).items())


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=3, max_size=25), share=st.floats(0.1, 0.5))
def test_the_share_is_within_half_of_the_largest_group(sizes, share):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    out = carved(table_of(groups), share)
    picked = out[out["split"] == "val"]
    near = abs(len(picked) - share * sum(sizes)) <= max(sizes) / 2 + 1
    assert near or picked["group"].nunique() == 1


def test_leakage_of_our_own_making_is_named():
    samples = table_of(["a", "b", "a", "c"], hashes=["1", "2", "3", "2"], splits=["train"] * 2 + ["val"] * 2)
    with pytest.raises(LeakageError, match=r"train\|val.*'a'.*'s0001', 's0003'"):
        check_leakage(samples, {("train", "test")})


def test_official_leakage_is_reported():
    samples = table_of(
        ["a", "b", "a", "c", "d"], hashes=list("12325"), splits=["train"] * 2 + ["val"] * 2 + ["test"]
    )
    facts = check_leakage(samples, {("val", "train")})
    assert facts["train|val"] == {
        "official": True,
        "shared_groups": 1,
        "shared_contents": 1,
        "groups": ["a"],
        "samples": ["s0001", "s0003"],
    }
    assert facts["train|test"]["shared_groups"] == 0
    assert list(facts) == ["train|val", "train|test", "val|test"]


def test_only_the_first_five_offenders_are_named():
    groups = [f"g{i}" for i in range(8)] * 2
    facts = check_leakage(table_of(groups, splits=["train"] * 8 + ["val"] * 8), {("train", "val")})
    assert facts["train|val"]["shared_groups"] == 8
    assert facts["train|val"]["groups"] == ["g0", "g1", "g2", "g3", "g4"]


def test_labels_read_back_from_parquet(tmp_path):
    singles([0, 1] * 10).to_parquet(tmp_path / "s.parquet")
    samples = pd.read_parquet(tmp_path / "s.parquet")
    assert class_counts(carved(samples, 0.2), "val") == {0: 2, 1: 2}


def test_many_samples_with_a_few_duplicates_are_quick():
    labels = np.arange(20_000) % 10
    samples = singles(labels)
    samples.loc[:99, "content_hash"] = [f"h{i // 2}" for i in range(100)]
    out = carved(samples, 0.1)
    assert all(abs(n - 200) <= 1 for n in class_counts(out, "val").values())
