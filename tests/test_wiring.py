"""Every pipeline that the YAML files declare, against the catalog and the parameters of every environment."""

import inspect
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.io import CatalogConfigResolver, DataCatalog

from cv_pipelines import settings
from cv_pipelines.errors import ConfigError
from cv_pipelines.experiments import (
    Promotion,
    Study,
    file_of,
    find_ensembles,
    find_experiments,
    find_promotions,
    find_sources,
    find_studies,
    groups_of,
)
from cv_pipelines.pipeline_registry import check_names, register_pipelines, study_pipeline
from cv_pipelines.promotion.validation import check_promotion
from cv_pipelines.tasks import TASKS
from cv_pipelines.training.validation import check_ensemble, check_experiment, check_source
from cv_pipelines.tuning.validation import check_study

PROJECT = Path(__file__).resolve().parents[1]
CONF = PROJECT / "conf"
ENVIRONMENTS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
PIPELINES = register_pipelines()
EXPERIMENTS = find_experiments(CONF)
SOURCES = find_sources(CONF)
GROUPS = groups_of(EXPERIMENTS)
ENSEMBLES = find_ensembles(CONF, EXPERIMENTS)
STUDIES = find_studies(CONF, EXPERIMENTS)
PROMOTIONS = find_promotions(CONF, EXPERIMENTS)
SECTIONS = {*EXPERIMENTS, *SOURCES, *ENSEMBLES, *STUDIES, *PROMOTIONS}
WHOLE = sum((PIPELINES[name] for name in PROMOTIONS), PIPELINES["everything"])
NODES = WHOLE.nodes
TAGS = {
    "read_source": {"ingest"},
    "split_samples": {"prepare"},
    "compute_statistics": {"prepare"},
    "measure_samples": {"prepare"},
    "report_source": {"prepare"},
    "enforce_limits": {"prepare"},
    "train_model": {"train", "gpu"},
    "predict": {"evaluate", "gpu"},
    "score": {"evaluate"},
    "coco_files": {"evaluate"},
    "analyse_errors": {"report"},
    "explain": {"report", "gpu"},
    "draw_report": {"report"},
    "measure_costs": {"report", "gpu"},
    "compare": {"report"},
    "search": {"tune", "gpu"},
    "draw_study": {"report"},
    "promote": {"promote", "gpu"},
    "enforce_decision": {"promote"},
}
LAYERS = {
    "02_intermediate": "intermediate",
    "04_feature": "feature",
    "05_model_input": "model_input",
    "06_models": "models",
    "07_model_output": "model_output",
    "08_reporting": "reporting",
}

SHOWN_IN = {
    "summary": "model_input",
    "packed": "model_input",
    "metrics": "model_output",
    "details": "model_output",
    "errors": "model_output",
    "trials": "models",
}
"""What is drawn in another layer than its folder's: layers in a circle, or beside each other, cannot be."""


@cache
def configured(environment, kind):
    """The merged catalog or parameters of an environment, as a run of it sees them."""
    loader = OmegaConfigLoader(str(CONF), env=environment, **settings.CONFIG_LOADER_ARGS)
    return loader[kind]


@cache
def declared():
    """What conf/base declares; a machine may have more in conf/local, as a study writes its winner there."""
    return SECTIONS & configured("base", "parameters").keys()


@cache
def resolver(environment):
    return CatalogConfigResolver(configured(environment, "catalog"))


def datasets(pipeline):
    return {name for name in pipeline.datasets() if not name.startswith("params:")}


def entry(name, environment="base"):
    """The catalog entry of a dataset, its placeholders filled in."""
    found = resolver(environment).resolve_pattern(name)
    assert found, f"{name} is in no catalog file: it would be kept in memory"
    return found


def test_environments_are_there():
    assert {"base", "local", "smoke", "gpu"} <= set(ENVIRONMENTS)


def test_each_experiment_source_and_task_is_a_pipeline():
    tour = {experiment.task for experiment in EXPERIMENTS.values() if experiment.tour}
    wanted = {
        "__default__",
        "everything",
        *EXPERIMENTS,
        *GROUPS,
        *ENSEMBLES,
        *STUDIES,
        *PROMOTIONS,
        *tour,
        *(f"data_{name}" for name in SOURCES),
    }
    assert set(PIPELINES) == wanted
    assert all(pipeline.nodes for pipeline in PIPELINES.values())


def test_the_tour_shows_every_task():
    shown = {node.namespace for node in PIPELINES["__default__"].nodes}
    assert {EXPERIMENTS[name].task for name in shown & EXPERIMENTS.keys()} == set(TASKS)


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_an_experiment_runs_from_raw_files_to_its_report(name):
    pipeline, experiment = PIPELINES[name], EXPERIMENTS[name]
    stages = {"read_source", "split_samples", "compute_statistics", "report_source", "enforce_limits"}
    ran = {node.name for node in pipeline.nodes}
    assert {f"{experiment.source}.{stage}" for stage in stages} <= ran
    assert {f"{name}.{stage}" for stage in ("train_model", "predict", "score", "draw_report")} <= ran
    assert (f"{name}.coco_files" in ran) == (experiment.task == "detection")
    assert f"{name}.analyse_errors" in ran
    assert (f"{name}.explain" in ran) == (experiment.task in {"activity", "classification"})
    # all that comes from outside are parameters and the folders that nodes work in or keep images in
    outside = {dataset.split(".")[-1] for dataset in pipeline.inputs() if not dataset.startswith("params:")}
    assert outside == {"store", "packed", "work"}


def test_a_group_holds_the_tour_experiments_of_its_task():
    for task in {experiment.task for experiment in EXPERIMENTS.values() if experiment.tour}:
        trained = {node.namespace for node in PIPELINES[task].nodes if "train" in node.tags}
        members = {name for name, e in EXPERIMENTS.items() if e.tour and e.task == task}
        assert members <= trained
        assert trained - members <= {needed for name in members for needed in EXPERIMENTS[name].needs}


def test_a_comparison_reads_what_its_members_left():
    assert "training_craft" in GROUPS
    for group, members in GROUPS.items():
        trained = {node.namespace for node in PIPELINES[group].nodes if "train" in node.tags}
        assert trained >= set(members)
        own = {node.name: node for node in PIPELINES[group].nodes if node.namespace == group}
        costs, page = own.pop(f"{group}.measure_costs"), own.pop(f"{group}.compare")
        assert not own
        assert {f"{name}.checkpoint" for name in members} <= set(costs.inputs)
        assert {f"{EXPERIMENTS[name].source}.manifest" for name in members} <= set(costs.inputs)
        assert {f"{name}.{kind}" for name in members for kind in ("history", "metrics")} <= set(page.inputs)
        assert set(costs.outputs) <= set(page.inputs)
        assert page.outputs == [f"{group}.comparison"]


def test_an_ensemble_trains_its_members_and_reads_their_checkpoints_and_scores():
    assert "ensemble_digits" in ENSEMBLES
    for name, ensemble in ENSEMBLES.items():
        pipeline = PIPELINES[name]
        own = pipeline.filter(node_namespaces=[name])
        trained = {node.namespace for node in pipeline.nodes if "train" in node.tags}
        assert trained >= set(ensemble.members)
        assert {f"{m}.{kind}" for m in ensemble.members for kind in ("checkpoint", "metrics")} <= own.inputs()
        steps = {node.name.split(".")[1] for node in own.nodes}
        assert steps == {"predict", "score", "analyse_errors", "draw_report"} | ({"coco_files"} & steps)
        assert ("coco_files" in steps) == (ensemble.task == "detection")
        assert pipeline.nodes[0].namespace == ensemble.source


def test_a_study_searches_without_training_its_experiment_first():
    assert "tune_digits" in STUDIES
    for name, study in STUDIES.items():
        ran = {node.name: node for node in PIPELINES[name].nodes}
        source = EXPERIMENTS[study.experiment].source
        assert {f"{source}.read_source", f"{source}.enforce_limits", f"{name}.draw_study"} <= ran.keys()
        assert f"{study.experiment}.train_model" not in ran
        assert {f"params:{study.experiment}", f"{name}.work"} <= set(ran[f"{name}.search"].inputs)


def test_a_study_of_an_experiment_that_starts_from_another_runs_that_first():
    start = next(name for name, e in EXPERIMENTS.items() if e.init_from)
    whole = study_pipeline(Study("mine", start), EXPERIMENTS)
    first = EXPERIMENTS[start].init_from
    (search,) = [node for node in whole.nodes if node.name == "mine.search"]
    assert f"{first}.checkpoint" in search.inputs
    assert f"{first}.train_model" in {node.name for node in whole.nodes}


def test_a_study_may_not_be_named_like_anything_else():
    for name in ("digits", "classification", "classification_digits", "everything"):
        with pytest.raises(ConfigError, match=f"{name}: a study may not be named"):
            check_names(EXPERIMENTS, SOURCES, ENSEMBLES, {name: Study(name, "classification_digits")}, {})


def test_a_promotion_may_not_be_named_like_anything_else():
    for name in ("digits", "classification_digits", "tune_digits", "everything"):
        with pytest.raises(ConfigError, match=f"{name}: a promotion may not be named"):
            check_names(EXPERIMENTS, SOURCES, ENSEMBLES, STUDIES, {name: Promotion(name, "x")})


def test_a_promotion_trains_its_candidate_and_is_no_part_of_everything():
    assert "promote_digits" in PROMOTIONS
    for name, promotion in PROMOTIONS.items():
        ran = {node.name: node for node in PIPELINES[name].nodes}
        assert {f"{promotion.candidate}.train_model", f"{promotion.candidate}.draw_report"} <= ran.keys()
        wanted = {f"{promotion.candidate}.{kind}" for kind in ("checkpoint", "metrics")}
        assert wanted <= set(ran[f"{name}.promote"].inputs)
        assert ran[f"{name}.enforce_decision"].inputs == [f"{name}.decision"]
        assert name not in {node.namespace for node in PIPELINES["everything"].nodes}


def test_a_start_from_another_experiment_is_an_edge():
    starts = [(name, e.init_from) for name, e in EXPERIMENTS.items() if e.init_from]
    assert starts
    for name, start in starts:
        train = next(node for node in PIPELINES[name].nodes if node.name == f"{name}.train_model")
        assert f"{start}.checkpoint" in train.inputs
        assert f"{start}.train_model" in {node.name for node in PIPELINES[name].nodes}


def test_an_embedder_is_an_edge_to_the_prediction():
    gans = [(name, e.embedder) for name, e in EXPERIMENTS.items() if e.embedder]
    assert gans
    for name, embedder in gans:
        predict = next(node for node in PIPELINES[name].nodes if node.name == f"{name}.predict")
        assert f"{embedder}.checkpoint" in predict.inputs


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.name)
def test_a_node_is_named_namespaced_and_tagged_with_its_stage(node):
    assert node.namespace in {*SECTIONS, *GROUPS}
    assert node.name.split(".") == [node.namespace, node.short_name.replace(" ", "_").lower()]
    assert node.tags == TAGS[node.name.split(".")[1]]
    assert node.func.__doc__, "kedro-viz shows it"
    assert inspect.isfunction(node.func), "kedro-viz shows the code of functions alone"
    assert inspect.getsource(node.func).startswith(f"def {node.func.__name__}(")


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_no_cycles_and_one_maker_a_dataset(name):
    nodes = PIPELINES[name].nodes
    makers = {output: node.name for node in nodes for output in node.outputs}
    assert len(makers) == sum(len(node.outputs) for node in nodes)
    graph = {node.name: {makers[i] for i in node.inputs if i in makers} for node in nodes}
    assert len(list(TopologicalSorter(graph).static_order())) == len(nodes)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_dataset_is_kept_in_memory(environment):
    catalog = DataCatalog.from_config(configured(environment, "catalog"))
    for name in sorted(datasets(WHOLE)):
        assert entry(name, environment)
        assert type(catalog.get(name)).__name__ != "MemoryDataset", name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_parameter_stands_in_a_file(environment):
    known = configured(environment, "parameters")
    wanted = {name.removeprefix("params:") for name in WHOLE.datasets() if name[:7] == "params:"}
    assert wanted == SECTIONS
    assert declared() <= known.keys()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_only_changes_what_base_declares(environment):
    known = configured(environment, "parameters")
    assert {name for name in known if name[0] != "_"} - (SECTIONS - declared()) == declared()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("name", sorted(declared()))
def test_every_section_is_valid_in_every_environment(name, environment):
    values = configured(environment, "parameters")[name]
    if name in EXPERIMENTS:
        config = check_experiment(name, values, SOURCES)
        assert config.task == EXPERIMENTS[name].task
        assert config.source in SOURCES
    elif name in ENSEMBLES:
        known = configured(environment, "parameters")
        members = {m: check_experiment(m, known[m], SOURCES) for m in ENSEMBLES[name].members}
        assert check_ensemble(name, values, members).members == list(ENSEMBLES[name].members)
    elif name in PROMOTIONS:
        candidate = configured(environment, "parameters")[PROMOTIONS[name].candidate]
        check_promotion(name, values, check_experiment(name, candidate, SOURCES))
    elif name in STUDIES:
        check_study(name, values, configured(environment, "parameters")[STUDIES[name].experiment], SOURCES)
    else:
        check_source(name, values)


def test_files_are_named_after_what_they_declare():
    for name in SECTIONS:
        path = file_of(CONF, name)
        if path.parts[-4] == "base":
            # a file holds what it is named after: one section, or the members of a group
            named = GROUPS.get(path.stem, [path.stem])
            assert sorted(yaml.safe_load(path.read_text(encoding="utf8"))) == sorted(named)


def test_raw_data_are_only_read_and_samples_are_drawn_in_the_project():
    for name in SOURCES:
        values = configured("base", "parameters")[name]
        drawn = str(PROJECT / "data" / "01_raw")
        assert ("sample" in values) <= str(values.get("root")).startswith(drawn)


@pytest.mark.parametrize("name", sorted(datasets(PIPELINES["__default__"])))
def test_a_dataset_lies_in_its_layer_under_its_namespace(name):
    found, namespace = entry(name), name.split(".")[0]
    layer, folder, _ = re.match(r"data/(\w+)/(\w+)(/|$)", found["filepath"]).groups()
    shown = SHOWN_IN.get(name.split(".")[1], LAYERS[layer])
    assert found["metadata"]["kedro-viz"]["layer"] == shown
    # a source's report stands among those of the experiments, and says that it is of data
    assert folder in (
        {f"data_{namespace}"} if layer == "08_reporting" and namespace in SOURCES else {namespace}
    )


@pytest.mark.parametrize("name", ["__default__", "everything", *ENSEMBLES, *PROMOTIONS, *GROUPS])
def test_layers_come_one_after_the_other(name):
    """kedro-viz draws no layer at all of a pipeline whose layers go in a circle."""
    above = {}
    for node in PIPELINES[name].nodes:
        read, made = ({layer_of(one) for one in ends} - {None} for ends in (node.inputs, node.outputs))
        for layer in made:
            above.setdefault(layer, set()).update(read - {layer})
    rank = list(LAYERS.values()).index
    assert [(one, other) for other, ones in above.items() for one in ones if rank(one) > rank(other)] == []
    assert len(above) == 5  # each layer comes from another, so that the order is the only one, but for
    assert not above["intermediate"]  # the first


def layer_of(dataset):
    return None if dataset.startswith("params:") else entry(dataset)["metadata"]["kedro-viz"]["layer"]


def test_every_catalog_pattern_is_used_and_has_a_layer():
    patterns = configured("base", "catalog")
    used = {name.split(".")[1] for name in datasets(WHOLE)}
    for pattern, values in patterns.items():
        assert re.fullmatch(r"\{(source|experiment|group|ensemble|study|promotion)\}\.\w+", pattern)
        assert pattern.split(".")[1] in used, f"{pattern} is made or read by no node"
        assert values["metadata"]["kedro-viz"]["layer"] in LAYERS.values()
        assert not values.get("versioned"), "versions are DVC's and MLflow's work"


def test_no_two_datasets_share_a_file():
    files = [entry(name)["filepath"] for name in datasets(WHOLE)]
    assert len(files) == len(set(files))
