"""How long nodes took: noted by runs, summed up by plans."""

from cv_pipelines.planning.durations import FILE, KEPT, note_durations, read_durations
from cv_pipelines.planning.outline import expected, outline
from cv_pipelines.planning.steps import Step


def test_the_latest_durations_of_a_node_are_kept(tmp_path):
    assert read_durations(tmp_path) == {}
    for number in range(KEPT + 2):
        note_durations(tmp_path, {"a.score": float(number)})
    note_durations(tmp_path, {"b.score": 0.5})
    assert read_durations(tmp_path) == {"a.score": [float(n) for n in range(2, KEPT + 2)], "b.score": [0.5]}


def test_a_note_that_cannot_be_read_is_none(tmp_path):
    for text in ("{", "[1]", '{"a.score": 3}', '{"a.score": ["x"]}'):
        (tmp_path / FILE).write_text(text)
        assert read_durations(tmp_path) == {}


def test_a_step_takes_the_medians_of_its_nodes():
    step = Step("a", "score", nodes=["a.score", "a.coco_files"], state="run")
    found = expected(step, {"a.score": [1.0, 9.0, 2.0], "a.coco_files": [4.0, 5.0, 6.0]})
    assert (found.seconds, found.basis) == (7.0, "median of the latest 3 runs here")
    assert expected(step, {"a.score": [1.0]}).seconds is None  # one of its nodes never ran


def test_a_training_without_a_like_is_not_told_from_runs_on_whatever_device():
    step = Step("a", "train_model", nodes=["a.train_model"], state="run", basis="no earlier training on cpu")
    assert expected(step, {"a.train_model": [3.0]}) == step


def test_time_of_what_is_needed_and_what_is_not_known():
    steps = [
        Step("a", "prepare", state="run", seconds=90.0),
        Step("a", "score", state="maybe"),
        Step("a", "predict", seconds=500.0),
    ]
    assert outline(steps, 0)["time"] == {"minutes": 1.5, "unknown": ["a.score"]}
    assert outline(steps[2:], 0)["time"] == {"minutes": 0.0, "unknown": []}
    assert outline(steps[1:], 0)["time"] == {"minutes": None, "unknown": ["a.score"]}
