"""The reference that is made from the code leaves nothing out."""

import inspect
import re

import pytest
from pydantic import BaseModel

from cv_pipelines import config
from cv_pipelines.cli import cv
from cv_pipelines.config import Named, SourceConfig, ensemble, promotion, retraining, study, train
from cv_pipelines.config.sections import Choice, Strict
from cv_pipelines.data.augment import AUGMENTS
from cv_pipelines.models import MODELS, builder
from cv_pipelines.sources import READERS, reader
from cv_pipelines.tasks import TASKS, task_class
from docsite import gather

PAGES = gather.made()
TOP = [
    config.ExperimentConfig,
    SourceConfig,
    ensemble.EnsembleConfig,
    promotion.PromotionConfig,
    retraining.RetrainConfig,
    study.StudyConfig,
]


def below(base):
    """All classes that inherit from a class, at any depth."""
    return {one for child in base.__subclasses__() for one in {child, *below(child)}}


SECTIONS = sorted((below(Strict) | below(Named) | {Named}) - {Choice}, key=lambda one: one.__name__)


def kind(model):
    return model.__name__.removesuffix("Config").lower()


def rows(text):
    """First cells of all tables to their whole lines; the first table counts."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return {line.split("`")[1]: line for line in reversed(lines)}


def test_there_is_a_page_of_each_kind_of_section():
    assert {f"reference/{kind(model)}.md" for model in TOP} <= PAGES.keys()
    assert train.Train in SECTIONS


@pytest.mark.parametrize("model", SECTIONS, ids=lambda model: model.__name__)
def test_each_key_of_each_section_is_explained(model):
    shown = model.__name__ if model not in TOP else "# Every key"
    pages = [text for path, text in PAGES.items() if re.fullmatch(r"reference/\w+\.md", path)]
    if model in TOP:
        parts = [PAGES[f"reference/{kind(model)}.md"].partition("\n## ")[0]]
    else:
        parts = [part for text in pages for part in text.split("\n## ") if part.startswith(f"{shown}\n")]
    assert parts, f"{model.__name__} is on no page"
    for key in model.model_fields.keys() - ({"name"} if model is SourceConfig else set()):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", rows(parts[0])[key])][1:-1]
        assert len(cells) == 4
        assert all(cells), f"{model.__name__}.{key}: {cells}"


def test_types_ranges_and_defaults_are_those_of_the_model():
    text = PAGES["reference/experiment.md"]
    trained = rows(next(part for part in text.split("\n## ") if part.startswith("Train\n")))
    assert "| whole number > 0 | **required** |" in trained["epochs"]
    assert "| `32-true`, `bf16-mixed`, `16-mixed` | `32-true` |" in trained["precision"]
    assert "| number > 0 and < 1 or none | none |" in trained["ema"]
    assert "| list: text | `[]` |" in trained["freeze"]
    assert "| [section](#optimizer) | **required** |" in trained["optimizer"]
    assert (
        "whole number > 0 or number > 0 and < 1 or text like `^\\d+s$` or none" in trained["checkpoint_every"]
    )


def test_options_that_belong_to_a_name_are_shown_with_it():
    schedule = PAGES["reference/experiment.md"].split("\n## Schedule\n")[1].split("\n## ")[0]
    assert "| `step` | `factor`, `milestones` |" in schedule
    assert "| `cosine` | none |" in schedule


@pytest.mark.parametrize("name", sorted(READERS))
def test_each_reader_has_a_page_with_its_options_and_its_terms(name):
    text = PAGES[f"reference/sources/{name}.md"]
    assert options(reader(name).read) <= rows(text).keys()
    assert re.search("licence|terms|CC BY|research", text, re.IGNORECASE)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_each_task_has_a_page_with_its_options(name):
    text = PAGES[f"reference/tasks/{name}.md"]
    assert options(task_class(name).__init__) <= rows(text).keys()
    for heading in ("Loss", "Predictions", "Scores", "Models", "Augmentations", "Experiments"):
        body = text.split(f"\n## {heading}\n")[1].split("\n## ")[0].strip()
        assert body, heading


@pytest.mark.parametrize("name", sorted(MODELS))
def test_each_model_is_shown_with_its_options(name):
    part = PAGES["reference/models.md"].split(f"\n## {name}\n")[1].split("\n## ")[0]
    shown = rows(part)
    assert options(builder(name)) == shown.keys()
    assert all(not line.rstrip().endswith("|  |") for line in shown.values()), "an option without a meaning"


@pytest.mark.parametrize("name", sorted(AUGMENTS))
def test_each_augmentation_is_shown(name):
    part = PAGES["reference/augmentations.md"].split(f"\n### {name}\n")[1].split("\n### ")[0]
    assert rows(part).keys() == set(inspect.signature(AUGMENTS[name][0]).parameters)


def test_each_command_is_shown():
    text = PAGES["reference/commands.md"]
    assert [name for name in cv.commands if f"\n## kedro cv {name}\n" not in text] == []
    assert "--resamples" in text


def options(function):
    parameters = inspect.signature(function).parameters.values()
    return {one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}


def test_every_section_is_a_pydantic_model():
    assert all(issubclass(model, BaseModel) for model in SECTIONS)
    assert len(SECTIONS) > 20
