"""What a study may say, and that nothing is drawn which its experiment would refuse."""

import re

import pytest

from cv_pipelines.config import parse
from cv_pipelines.config.study import Range, StudyConfig
from cv_pipelines.errors import ConfigError
from cv_pipelines.tuning.space import with_values
from cv_pipelines.tuning.validation import COMBINATIONS, check_study

EXPERIMENT = {
    "task": "classification",
    "source": "digits",
    "model": {"name": "residual_cnn", "channels": [4, 8]},
    "augment": {"name": "small_image", "rotation": 8.0},
    "train": {"epochs": 2, "batch_size": 8, "optimizer": {"name": "adamw", "lr": 0.003}},
}
STUDY = {"experiment": "toy", "trials": 3, "space": {"train.optimizer.lr": {"low": 0.001, "high": 0.1}}}
WHERE = "studies/mine.yml: mine"


def check(study=None, experiment=None, **train):
    values = EXPERIMENT | (experiment or {})
    values |= {"train": values["train"] | train}
    return check_study(WHERE, STUDY | (study or {}), values, ["digits"])


def refusal(*given, **train):
    with pytest.raises(ConfigError) as error:
        check(*given, **train)
    assert str(error.value).startswith(WHERE)
    return str(error.value)


def space(**keys):
    return {"space": {key.replace("__", "."): value for key, value in keys.items()}}


@pytest.mark.parametrize(
    ("study", "told"),
    [
        ({"space": {}}, "space: Dictionary should have at least 1 item"),
        ({"space": {"train.epochs": []}}, "space.train.epochs: .*list of choices, or {low"),
        ({"space": {"train.epochs": 3}}, "space.train.epochs: .*list of choices.*(value 3)"),
        ({"space": {"train.epochs": {"low": 3}}}, "space.train.epochs.high: Field required"),
        (
            {"space": {"train.epochs": {"low": 3, "hihg": 4}}},
            "space.train.epochs.hihg: unknown key (value 4)",
        ),
        ({"space": {"train.epochs": {"low": "3", "high": 4}}}, "space.train.epochs.low.*(value '3')"),
        (
            {"space": {"train.epochs": {"low": 4, "high": 4}}},
            "space.train.epochs.high: must be a number above low",
        ),
        (
            {"space": {"train.l1": {"low": 0.0, "high": 1.0, "log": True}}},
            "space.train.l1.low: must be above 0",
        ),
        (
            {"space": {"train.l1": {"low": 0.1, "high": 1.0, "log": True, "step": 0.1}}},
            "space.train.l1.step: goes not with `log`",
        ),
        (
            {"space": {"train.epochs": {"low": 1, "high": 4, "step": 0.5}}},
            "space.train.epochs.step: must be whole",
        ),
        ({"space": {"train.batch_size": [8, 8]}}, "space.train.batch_size: .*a choice is given twice"),
        ({"trials": 0}, "trials: Input should be greater than 0 (value 0)"),
        ({"trials": None}, "trials: sampler tpe needs a number of trials"),
        ({"sampler": "gird"}, "sampler.name: Input should be 'grid', 'random' or 'tpe' (value 'gird')"),
        ({"sampler": {"name": "random", "startup": 3}}, "sampler.startup: no option of random"),
        ({"sampler": "grid"}, "space.train.optimizer.lr: a grid needs a list, or a step"),
        ({"sampler": "grid", "space": {"train.batch_size": [4, 8]}}, "trials: the grid has 2 combinations"),
        ({"pruner": "median"}, "pruner.name: Input should be 'hyperband' or 'none' (value 'median')"),
        ({"pruner": {"name": "none", "factor": 3}}, "pruner.factor: no option of none"),
        ({"storage": "sqlite:///here.db"}, "storage: .*sqlite:/// with a whole path, or postgresql://"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"expriment": "x"}, "expriment: unknown key (value 'x'); allowed are experiment, failures"),
    ],
)
def test_a_wrong_key_is_told_with_its_value_and_what_is_allowed(study, told):
    assert re.search(re.escape(told).replace(r"\.\*", ".*"), refusal(study))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"train__optimiser__lr": [0.1]}, "space: train.optimiser: unknown key"),
        (
            {"train__optimizer__lr": [0.1, -0.1]},
            "space: train.optimizer.lr: Input should be greater than 0 (value -0.1)",
        ),
        ({"train__optimizer__lr": {"low": -0.5, "high": 1.0}}, "train.optimizer.lr: .* 0 (value -0.5)"),
        (
            {"train__optimizer__name": ["adamw", "adamx"]},
            "train.optimizer.name: .*'adagrad'.*(value 'adamx')",
        ),
        (
            {"train__swa": {"low": 0.5, "high": 1.0}},
            "space: train.swa: Input should be less than 1 (value 1.0)",
        ),
        (
            {"model__width": [16, 32]},
            "space: model: width: unknown key (value 16); allowed are blocks, channels",
        ),
        (
            {"model__name": ["residual_cnn", "resnet"]},
            "space: model.name: unknown name 'resnet'; allowed are",
        ),
        ({"augment__rotaton": [1.0]}, "space: augment: rotaton: unknown key (value 1.0); allowed are"),
        ({"loss__gamma": [1.0]}, "space: loss: gamma: unknown key (value 1.0); allowed are label_smoothing"),
        ({"task__name": ["x"]}, "space.task.name: cannot be searched"),
        ({"model__name__x": ["x"]}, "space: model.name.x: unknown key; what is above it is no section"),
        ({"augment__0__rotation": [1.0]}, "space: augment"),
        ({"train": [{}]}, "space.train: must be a key within a section"),
        ({"train__seeds": [[0], [1]]}, "space.train.seeds: cannot be searched: a lucky seed"),
        ({"source": ["digits"]}, "space.source: cannot be searched"),
        ({"evaluate__split": ["val"]}, "space.evaluate.split: cannot be searched: it is the yardstick"),
        ({"train__fit_on": ["train_val"]}, "space.train.fit_on: cannot be searched"),
        # sgd alone has this option, adamw is the experiment's
        ({"train__optimizer__momentum": [0.9]}, "space: train.optimizer.momentum: no option of adamw"),
    ],
)
def test_what_the_experiment_would_refuse_is_refused_before_anything_runs(keys, told):
    assert re.search(re.escape(told).replace(r"\.\*", ".*"), refusal(space(**keys)))


def test_values_that_only_fit_together_are_tried_together():
    momentum = {"train.optimizer.momentum": {"low": 0.0, "high": 0.9}}
    assert check({"space": {"train.optimizer.name": ["sgd", "rmsprop"]} | momentum})
    assert "no option of adamw" in refusal({"space": {"train.optimizer.name": ["sgd", "adamw"]} | momentum})
    rules = [{"name": "sgd", "lr": 0.1, "momentum": 0.5}, {"name": "adamw", "lr": 0.01}]
    assert check({"space": {"train.optimizer": rules, "train.optimizer.weight_decay": [0.0, 0.1]}})


def test_a_wrong_choice_is_found_among_more_combinations_than_are_tried():
    many = {f"train.{key}": list(range(1, 40)) for key in ("epochs", "batch_size", "accumulate")}
    assert 10 * COMBINATIONS < 39**3
    assert check({"space": many})
    assert "train.batch_size" in refusal({"space": many | {"train.batch_size": [*range(1, 40), 0]}})


@pytest.mark.parametrize(
    ("experiment", "train", "told"),
    [
        ({}, {"fit_on": "train_val", "select": "last"}, "experiment: trains on its validation split"),
        (
            {"task": "gan", "model": {"name": "dcgan"}, "embedder": "x", "augment": []},
            {"select": "last"},
            "experiment: task 'gan' has no validation figure",
        ),
    ],
)
def test_an_experiment_without_a_validation_figure_is_refused(experiment, train, told):
    assert told in refusal({}, experiment, **train)


def test_short_forms_stand_for_sections():
    config = parse(WHERE, StudyConfig, STUDY | {"sampler": "random", "pruner": "hyperband"})
    assert (config.sampler.name, config.pruner.name, config.total) == ("random", "hyperband", 3)


def test_a_grid_may_leave_the_number_of_trials_out():
    keys = {"train.batch_size": [4, 8], "train.ema": {"low": 0.1, "high": 0.3, "step": 0.1}}
    config = parse(WHERE, StudyConfig, {"experiment": "toy", "sampler": "grid", "space": keys})
    assert config.total == len(config.grid()) == 6
    assert config.grid()[-1] == {"train.batch_size": 8, "train.ema": pytest.approx(0.3)}


def test_whole_bounds_draw_whole_numbers():
    assert Range(low=1, high=3).values == [1, 2, 3]
    assert Range(low=1, high=10, step=4).values == [1, 5, 9]
    assert Range(low=0.0, high=1.0).values is None
    assert not Range(low=1, high=3.0).whole


def test_values_are_set_at_their_keys_and_the_experiment_stays():
    values = {
        "train.optimizer.lr": 0.5,
        "train.optimizer": {"name": "sgd", "lr": 1.0},
        "init_weights.name": "he",
    }
    changed = with_values(
        EXPERIMENT | {"init_weights": None, "augment": [{"name": "a"}]}, values | {"augment.0.x": 1}
    )
    assert changed["train"]["optimizer"] == {"name": "sgd", "lr": 0.5}
    assert changed["init_weights"] == {"name": "he"}
    assert changed["augment"] == [{"name": "a", "x": 1}]
    assert EXPERIMENT["train"]["optimizer"] == {"name": "adamw", "lr": 0.003}
