"""Strict parameters: what is refused, what is allowed, and what the message says."""

from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from cv_pipelines.config import (
    Evaluate,
    ExperimentConfig,
    Inputs,
    Named,
    Sample,
    SourceConfig,
    SplitRule,
    check_options,
    options_model,
    parse,
)
from cv_pipelines.config.train import Optimizer, Train
from cv_pipelines.errors import ConfigError

WHERE = "conf/base/parameters/experiments/mine.yml: mine"
TRAIN = {"epochs": 3, "batch_size": 8, "optimizer": {"lr": 0.01}}
EXPERIMENT = {"task": "classification", "source": "digits", "model": {"name": "residual_cnn"}, "train": TRAIN}


def build(
    in_channels: int,
    n_outputs: int,
    *,
    weights: Literal["packaged", "none"],
    width: Annotated[int, Field(gt=0, multiple_of=8)] = 16,
    dropout: float = 0.0,
    free=None,
) -> None:
    """A builder as `models` has them."""


def message(model, values):
    with pytest.raises(ConfigError) as caught:
        parse(WHERE, model, values)
    return str(caught.value)


def test_a_minimal_experiment_gets_the_documented_defaults():
    config = parse(WHERE, ExperimentConfig, EXPERIMENT)
    assert (config.init_from, config.embedder, config.augment, config.tour) == (None, None, [], False)
    assert config.evaluate == Evaluate(split="test", protocol="standard")
    assert config.train.seeds == [0]
    assert config.train.schedule.name == "one_cycle"
    assert config.inputs.normalize == "dataset"


def test_a_section_is_frozen():
    config = parse(WHERE, ExperimentConfig, EXPERIMENT)
    with pytest.raises(ValueError, match="frozen"):
        config.task = "gan"


def test_the_options_of_a_name_are_all_its_other_keys():
    named = Named.model_validate({"name": "unet", "channels": [4, 8]})
    assert (named.name, named.options) == ("unet", {"channels": [4, 8]})
    assert Named(name="unet").options == {}


def test_options_of_a_source_are_those_of_its_reader():
    values = {"reader": "voc", "root": "x", "year": 2012, "validation": {"share": 0.1}}
    config = parse(WHERE, SourceConfig, values)
    assert config.options == {"year": 2012}
    assert config.validation == SplitRule(by="group", share=0.1)
    assert config.test is None


def test_an_unknown_key_names_file_key_value_and_what_is_allowed():
    text = message(ExperimentConfig, EXPERIMENT | {"modle": {"name": "unet"}})
    assert text.startswith(f"{WHERE}: modle: unknown key (value {{'name': 'unet'}}); allowed are ")
    assert (
        "augment, cache, embedder, evaluate, group, init_from, init_weights, inputs, loss, model, source"
        in text
    )


def test_an_unknown_nested_key_is_named_by_its_path():
    text = message(ExperimentConfig, EXPERIMENT | {"train": TRAIN | {"optimizer": {"lr": 0.1, "betta": 1}}})
    assert text == f"{WHERE}: train.optimizer.betta: unknown key (value 1)"


def test_every_defect_gets_a_line():
    values = EXPERIMENT | {"train": TRAIN | {"epochs": "3", "batch_size": 0}, "evaluate": {"split": "trian"}}
    lines = message(ExperimentConfig, values).splitlines()
    assert [line.removeprefix(f"{WHERE}: ").split(":")[0] for line in lines] == [
        "train.epochs",
        "train.batch_size",
        "evaluate.split",
    ]
    assert "(value '3')" in lines[0]
    assert "(value 0)" in lines[1]
    assert "'train', 'val' or 'test'" in lines[2]


@pytest.mark.parametrize("values", [None, [], "text", 3])
def test_a_section_that_is_no_mapping_is_refused(values):
    assert message(ExperimentConfig, values).startswith(WHERE)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (Train, TRAIN | {"epochs": 1.0}),  # no silent conversion
        (Train, TRAIN | {"epochs": True}),
        (Train, TRAIN | {"seeds": []}),
        (Train, TRAIN | {"ema": 1.0}),
        (Train, TRAIN | {"workers": -1}),
        (Train, TRAIN | {"precision": "fp8"}),
        (Train, {"epochs": 1, "batch_size": 1}),  # a learning rate has no default
        (Optimizer, {"lr": 0}),
        (Optimizer, {"lr": "1e-3"}),  # what YAML makes of 1e-3
        (Optimizer, {"lr": 0.1, "betas": [0.9]}),
        (Optimizer, {"lr": 0.1, "momentum": 1}),
        (Inputs, {"size": [16]}),
        (Inputs, {"size": [16, 0]}),
        (Inputs, {"labels_per_class": 0}),
        (Sample, {"n": 0}),
        (Sample, {"objects": [2, 1]}),
        (Sample, {"objects": [-1, 1]}),
        (SplitRule, {"share": 0.0}),
        (SplitRule, {"share": 1}),
        (SplitRule, {"by": "subject", "share": 0.5}),
    ],
)
def test_values_out_of_range_or_of_another_type_are_refused(model, values):
    assert "(value " in message(model, values)


@pytest.mark.parametrize("extra", [{"select": "best"}, {"select": "last", "early_stopping": 3}])
def test_training_on_validation_data_leaves_nothing_to_choose_on(extra):
    assert "fit_on train_val" in message(Train, TRAIN | {"fit_on": "train_val"} | extra)
    assert parse(WHERE, Train, TRAIN | {"fit_on": "train_val", "select": "last"}).fit_on == "train_val"


def test_options_are_the_keyword_only_arguments():
    fields = options_model(build).model_fields
    assert list(fields) == ["weights", "width", "dropout", "free"]
    assert {name for name, field in fields.items() if field.is_required()} == {"weights"}
    assert fields["width"].default == 16


def test_a_function_without_options_takes_none():
    assert list(options_model(lambda root: None).model_fields) == []
    check_options(WHERE, lambda root: None, {})
    with pytest.raises(ConfigError, match="x: unknown key"):
        check_options(WHERE, lambda root: None, {"x": 1})


def test_options_are_checked_against_type_range_and_name():
    check_options(WHERE, build, {"weights": "none", "width": 24, "free": object()})
    for options, wanted in [
        ({}, "weights: Field required"),
        ({"weights": "imagenet"}, "'packaged' or 'none' (value 'imagenet')"),
        ({"weights": "none", "width": 12}, "width: Input should be a multiple of 8 (value 12)"),
        (
            {"weights": "none", "wdith": 8},
            "wdith: unknown key (value 8); allowed are dropout, free, weights, width",
        ),
        ({"weights": "none", "in_channels": 3}, "in_channels: unknown key"),  # data dictates it
    ]:
        with pytest.raises(ConfigError) as caught:
            check_options(WHERE, build, options)
        assert str(caught.value).startswith(f"{WHERE}: ")
        assert wanted in str(caught.value)


@given(key=st.text(min_size=1).filter(lambda k: k not in Train.model_fields), value=st.integers())
def test_no_unknown_key_gets_through(key, value):
    assert f"{key}: unknown key (value {value})" in message(Train, TRAIN | {key: value})
