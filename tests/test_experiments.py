"""Experiments and sources as the YAML files declare them."""

import pytest

from cv_pipelines.errors import ConfigError
from cv_pipelines.experiments import (
    Ensemble,
    Experiment,
    Study,
    file_of,
    find_ensembles,
    find_experiments,
    find_sources,
    find_studies,
    groups_of,
)


@pytest.fixture
def conf(tmp_path):
    """A function that writes `conf/<place>.yml` and returns the conf folder."""

    def write(place, text):
        path = tmp_path / f"{place}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf8")
        return tmp_path

    return write


BASE = "base/parameters/experiments"
LOCAL = "local/parameters/experiments"


def test_nothing_is_found_where_nothing_is(tmp_path):
    assert find_experiments(tmp_path) == {}
    assert find_sources(tmp_path) == []
    assert file_of(tmp_path, "x") is None


def test_an_experiment_is_what_its_file_says(conf):
    root = conf(f"{BASE}/b", "b: {task: classification, source: digits, init_from: a, tour: true}")
    conf(f"{BASE}/a", "a: {task: autoencoder, source: digits, model: {name: x}}")
    found = find_experiments(root)
    assert list(found) == ["a", "b"]
    assert found["a"] == Experiment("a", "autoencoder", "digits", None, None, False)
    assert found["b"] == Experiment("b", "classification", "digits", "a", None, True)
    assert found["a"].needs == []
    assert found["b"].needs == ["a"]


def test_a_group_has_the_experiments_that_name_it(conf):
    group = "task: t, source: s, group: {name: many, panels: {A: a}}"
    root = conf(f"{BASE}/many", f"b: {{{group}}}\na: {{{group}}}\nc: {{task: t, source: s}}")
    assert groups_of(find_experiments(root)) == {"many": ["a", "b"]}


def test_a_gan_needs_its_embedder_and_its_start(conf):
    root = conf(
        f"{BASE}/all", "a: {task: t, source: s}\ng: {task: gan, source: s, init_from: a, embedder: a}"
    )
    assert find_experiments(root)["g"].needs == ["a", "a"]


def test_local_files_add_experiments_and_override_keys(conf):
    root = conf(f"{BASE}/a", "a: {task: autoencoder, source: digits, tour: true}")
    conf(f"{LOCAL}/mine", "a: {source: faces}\nb: {task: detection, source: voc, init_from: a}")
    found = find_experiments(root)
    assert (found["a"].task, found["a"].source, found["a"].tour) == ("autoencoder", "faces", True)
    assert found["b"].needs == ["a"]
    assert file_of(root, "a") == root / LOCAL / "mine.yml"


def test_sources_are_found_by_name_in_both_environments(conf):
    root = conf("base/parameters/sources/x", "zebra: {reader: coco}\nant: {reader: voc}")
    conf("local/parameters/sources/y", "bee: {reader: idx}")
    assert find_sources(root) == ["ant", "bee", "zebra"]
    assert file_of(root, "bee") == root / "local/parameters/sources/y.yml"


def test_an_empty_file_declares_nothing(conf):
    assert find_experiments(conf(f"{BASE}/empty", "# to come\n")) == {}


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text\n", "a: 3\n", "a:\n"])
def test_a_file_that_is_no_mapping_of_sections_is_named(conf, text):
    root = conf(f"{BASE}/odd", text)
    with pytest.raises(ConfigError, match=r"odd\.yml: expected a mapping of names to sections"):
        find_experiments(root)


def test_a_file_that_is_no_yaml_is_named_with_the_line(conf):
    root = conf(f"{BASE}/broken", "a:\n  task: [unclosed\n  source: x\n")
    with pytest.raises(ConfigError, match=r"(?s)broken\.yml: not YAML: .*line 3"):
        find_experiments(root)


@pytest.mark.parametrize(
    ("section", "missing"),
    [
        ("{source: s}", "task"),
        ("{task: t}", "source"),
        ("{}", "task and source"),
        ("{task: 3, source: s}", "task"),
    ],
)
def test_task_and_source_are_needed(conf, section, missing):
    root = conf(f"{BASE}/a", f"mine: {section}")
    with pytest.raises(ConfigError, match=rf"a\.yml: mine: needs {missing} \(text\)"):
        find_experiments(root)


@pytest.mark.parametrize("key", ["init_from", "embedder"])
def test_an_unknown_start_is_refused_with_those_there_are(conf, key):
    root = conf(f"{BASE}/a", f"a: {{task: t, source: s, {key}: nobody}}\nb: {{task: t, source: s}}")
    with pytest.raises(ConfigError, match="a: no experiment 'nobody'; there are a, b"):
        find_experiments(root)


@pytest.mark.parametrize("edges", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "a"}])
def test_experiments_that_start_from_each_other_are_refused(conf, edges):
    lines = [f"{name}: {{task: t, source: s, init_from: {needed}}}" for name, needed in edges.items()]
    root = conf(f"{BASE}/ring", "\n".join(lines))
    with pytest.raises(ConfigError, match="circle"):
        find_experiments(root)


MEMBERS = """
a: {task: classification, source: digits}
b: {task: classification, source: digits}
c: {task: classification, source: faces}
d: {task: activity, source: digits}
"""


class TestEnsembles:
    """Which experiments predict together."""

    @pytest.fixture
    def found(self, conf):
        def find(text, place="base/parameters/ensembles/both"):
            conf(f"{BASE}/all", MEMBERS)
            root = conf(place, text)
            return root, find_ensembles(root, find_experiments(root))

        return find

    def test_task_and_source_are_those_of_the_members(self, found):
        root, ensembles = found("both: {members: [b, a], weights: [1, 2]}")
        assert ensembles == {"both": Ensemble("both", ("b", "a"), "classification", "digits")}
        assert file_of(root, "both") == root / "base/parameters/ensembles/both.yml"

    def test_there_may_be_none_and_they_may_be_local(self, found, tmp_path):
        assert find_ensembles(tmp_path, {}) == {}
        assert list(found("mine: {members: [c]}", "local/parameters/ensembles/x")[1]) == ["mine"]

    @pytest.mark.parametrize(
        ("section", "message"),
        [
            ("{}", r"members: needs a list of experiments \(value None\)"),
            ("{members: a}", "needs a list of experiments .value 'a'"),
            ("{members: []}", "needs a list of experiments"),
            ("{members: [1]}", "needs a list of experiments"),
            ("{members: [a, x]}", "no experiment 'x'; allowed are a, b, c, d"),
            ("{members: [a, b, a]}", "'a' is named twice"),
            ("{members: [a, d]}", "'d' has task 'activity' and 'a' has 'classification'"),
            ("{members: [a, b, c]}", "'c' has source 'faces' and 'a' has 'digits'; all .* the same source"),
        ],
    )
    def test_a_wrong_one_is_named_with_its_file(self, found, section, message):
        with pytest.raises(
            ConfigError, match=rf"ensembles/both\.yml: both: members: .*{message.split(': ')[-1]}"
        ):
            found(f"both: {section}")


def test_studies_are_found_in_both_environments(conf):
    root = conf(f"{BASE}/a", "a: {task: t, source: s}")
    assert find_studies(root, find_experiments(root)) == {}
    conf("base/parameters/studies/x", "x: {experiment: a}")
    conf("local/parameters/studies/w", "w: {experiment: a}\nx: {trials: 3}")
    found = find_studies(root, find_experiments(root))
    assert found == {"w": Study("w", "a"), "x": Study("x", "a")}
    assert file_of(root, "w") == root / "local/parameters/studies/w.yml"


@pytest.mark.parametrize("section", ["{experiment: b}", "{}", "{experiment: 3}"])
def test_a_study_of_no_known_experiment_is_refused_with_those_there_are(conf, section):
    root = conf(f"{BASE}/a", "a: {task: t, source: s}\nc: {task: t, source: s}")
    conf("base/parameters/studies/x", f"x: {section}")
    with pytest.raises(ConfigError, match=r"x\.yml: x: experiment: no experiment .*; there are a, c"):
        find_studies(root, find_experiments(root))
