"""The augmentation gallery, and the words that it and the documentation are made of."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from cv_pipelines.config import Named, check_options
from cv_pipelines.data.augment import AUGMENTS
from cv_pipelines.data.augment.catalogue import REQUIRED, describe
from cv_pipelines.errors import SourceError
from cv_pipelines.plots.augmentations import EXAMPLES, augmentation_page, fitting_tasks

DOCS = Path(__file__).parents[2] / "docs" / "augmentations.md"


@pytest.mark.parametrize("name", AUGMENTS)
def test_every_augmentation_and_option_is_described(name):
    found = describe(name)
    assert found.summary.endswith(".")
    assert all(option.meaning.endswith(".") for option in found.options)
    check_options(name, AUGMENTS[name][0], EXAMPLES.get(name, {}) | sizes(found))


@pytest.mark.parametrize("name", AUGMENTS)
def test_the_documentation_names_every_augmentation_with_tasks_and_options(name):
    rows = [line for line in DOCS.read_text(encoding="utf8").splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1
    _, _, tasks, options, _, _ = rows[0].split("|")
    found = describe(name)
    names = [t.strip() for t in tasks.split(",")]
    known = {"all images": ("autoencoder", "classification", "gan", "detection", "landmarks", "segmentation")}
    known["whole images"] = ("autoencoder", "classification", "gan")
    assert set(known.get(tasks.strip(), names)) == set(found.tasks)
    for option in found.options:
        default = (
            f"**`{option.name}`**"
            if option.default == REQUIRED
            else f"`{option.name}` {text(option.default)}"
        )
        assert default in options


def text(default):
    if isinstance(default, tuple):
        return str(list(default))
    return str(default).lower() if isinstance(default, bool) else f"{default:.4g}"


def sizes(description):
    return {option.name: [8, 8] for option in description.options if option.default == REQUIRED}


@pytest.mark.parametrize("task", ["activity", "classification", "detection", "landmarks", "segmentation"])
def test_a_page_shows_each_augmentation_that_fits_with_the_line_that_asks_for_it(sources, task):
    data = sources[task]
    page = augmentation_page("toy", data, seed=3)
    fitting = {name for name, (_, tasks) in AUGMENTS.items() if set(tasks) & set(fitting_tasks(data))}
    lines = [yaml.safe_load(line)[0] for line in re.findall(r"<pre>augment:\n  (.*)</pre>", page)]
    assert {line["name"] for line in lines} == fitting
    for line in lines:
        named = Named.model_validate(line)
        check_options(named.name, AUGMENTS[named.name][0], named.options)
        assert named.options.get("p", 1.0) == 1.0
    if task != "activity":
        assert page.count("<img ") == 4 * len(fitting)


@pytest.mark.parametrize(
    ("task", "tasks"),
    [
        ("activity", ["activity"]),
        ("classification", ["classification", "autoencoder", "gan"]),
        ("detection", ["detection", "autoencoder", "gan"]),
        ("landmarks", ["detection", "landmarks", "autoencoder", "gan"]),
        ("segmentation", ["segmentation", "autoencoder", "gan"]),
    ],
)
def test_tasks_fit_by_the_targets_that_a_source_has(sources, task, tasks):
    assert fitting_tasks(sources[task]) == tasks


def test_the_same_seed_and_sample_give_the_same_page_whatever_the_global_state(box_source):
    pages = []
    for state in (1, 2):
        torch.manual_seed(state)
        pages.append(augmentation_page("toy", box_source, "s07", seed=4))
    assert pages[0] == pages[1]
    assert "sample s07, seed 4" in pages[0]
    assert pages[0] != augmentation_page("toy", box_source, "s07", seed=5)


def test_an_unknown_sample_is_named(box_source):
    with pytest.raises(SourceError, match="no sample 'x'; there are 's00'"):
        augmentation_page("toy", box_source, "x")
