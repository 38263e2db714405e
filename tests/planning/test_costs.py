"""What a training takes: time by earlier ones, space by the size of its model."""

import pytest

from cv_pipelines.planning.costs import STATE_COPIES, Past, free_bytes, sized, timed, weights_of
from cv_pipelines.planning.steps import Step

TRAIN = Step("toy", "train_model", state="run")


def past(*seconds, device="cpu", epochs=2):
    return [Past(one, device, epochs) for one in seconds]


def test_the_median_of_trainings_on_the_same_device(experiment):
    config = experiment("classification")  # 2 epochs, one seed
    found = timed(TRAIN, config, [*past(10.0, 30.0, 20.0), *past(900.0, device="GPU")])
    assert (found.seconds, found.basis) == (20.0, "median of 3 earlier trainings on cpu")


@pytest.mark.parametrize("known", [[], past(900.0, device="GPU")])
def test_unknown_where_none_was_on_this_device(experiment, known):
    found = timed(TRAIN, experiment("classification"), known)
    assert (found.seconds, found.basis) == (None, "no earlier training on cpu")


def test_time_grows_with_epochs_and_seeds(experiment):
    config = experiment("classification", train={"epochs": 6, "seeds": [0, 1]})
    found = timed(TRAIN, config, past(10.0, epochs=2))
    assert found.seconds == pytest.approx(60.0)
    assert found.basis == "median of 1 earlier training on cpu, by epochs"


def test_epochs_that_are_not_known_scale_nothing(experiment):
    assert timed(TRAIN, experiment("classification"), past(10.0, epochs=None)).seconds == 10.0


def test_weights_are_counted_without_being_made(experiment, image_source):
    from cv_pipelines.training.fit import Job, make_task

    config = experiment("classification")
    state = make_task(Job("toy", config, image_source, None)).model.state_dict()
    assert weights_of(config, image_source) == sum(t.numel() * t.element_size() for t in state.values())


def test_disk_holds_two_checkpoints_a_seed_the_state_and_the_cache(experiment, image_source):
    config = experiment("classification", train={"seeds": [0, 1]}, cache={"gigabytes": 3.0})
    weights = weights_of(config, image_source)
    assert sized(TRAIN, config, image_source).disk == weights * (4 + STATE_COPIES) + 3_000_000_000
    assert sized(TRAIN, config, None).disk is None


def test_free_space_of_a_folder_that_is_not_there_yet(tmp_path):
    assert free_bytes(tmp_path / "a/b") == pytest.approx(free_bytes(tmp_path), rel=0.01)
