"""Provenance: one digest of all that a result was made from, and words for what differs."""

import pytest

from cv_pipelines.provenance import Provenance, differences

THEN = Provenance(
    parameters={"train.epochs": 12, "model.channels": [4, 8], "loss.old": True},
    inputs={"data.train": "aa", "init_from small": "cc"},
    code={"tasks/segmentation.py": "1", "models/unet.py": "2"},
    versions={"torch": "2.14.0", "timm": "1.0"},
)


def changed(**parts):
    return THEN.model_copy(update={part: getattr(THEN, part) | values for part, values in parts.items()})


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (changed(parameters={"train.epochs": 14}), ["`train.epochs` changed 12 → 14"]),
        (changed(parameters={"train.ema": 0.9}), ["`train.ema` changed none → 0.9"]),
        (changed(code={"tasks/segmentation.py": "9"}), ["code of tasks/segmentation.py changed"]),
        (changed(code={"tasks/views.py": "3"}), ["code of tasks/views.py changed"]),
        (changed(versions={"torch": "2.15.0"}), ["torch 2.14.0 → 2.15.0"]),
        (changed(inputs={"data.train": "ab"}), ["data.train changed"]),
        (changed(inputs={"data.val": "ab"}), ["data.val is new"]),
        (THEN.model_copy(update={"inputs": {"data.train": "aa"}}), ["init_from small is not used any more"]),
    ],
)
def test_a_difference_is_named_and_changes_the_fingerprint(now, told):
    assert differences(THEN, now) == told
    assert now.fingerprint != THEN.fingerprint


def test_the_same_content_has_the_same_fingerprint_in_whatever_order_it_is_given():
    again = Provenance(
        parameters=dict(reversed(THEN.parameters.items())),
        inputs=dict(reversed(THEN.inputs.items())),
        code=dict(reversed(THEN.code.items())),
        versions=dict(reversed(THEN.versions.items())),
    )
    assert differences(THEN, again) == []
    assert again.fingerprint == THEN.fingerprint
    assert Provenance.model_validate_json(THEN.model_dump_json()).fingerprint == THEN.fingerprint


def test_a_null_parameter_is_told_apart_from_one_that_is_not_there():
    assert differences(THEN, changed(parameters={"train.ema": None})) == ["`train.ema` changed none → null"]


def test_of_many_differences_the_first_are_named_and_the_others_counted():
    many = changed(parameters={f"p{i}": i for i in range(8)}, code={f"c{i}.py": "x" for i in range(7)})
    told = differences(THEN, many)
    assert told[5] == "and 3 more"
    assert told[6] == "code of c0.py, c1.py, c2.py, c3.py, c4.py and 2 more files changed"
