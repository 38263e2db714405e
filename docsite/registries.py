"""Reference pages of what parameters files name: models, first weights, augmentations."""

from __future__ import annotations

from itertools import groupby

from cv_pipelines.data.augment import AUGMENTS
from cv_pipelines.data.augment.catalogue import REQUIRED, Description, describe
from cv_pipelines.models import MODELS, builder
from cv_pipelines.models.initialisation import INITIALISERS
from docsite.declared import declared
from docsite.docstrings import docstring_of
from docsite.markdown import page, sentence, table
from docsite.options import options_of
from docsite.values import shown_default


def pages() -> dict[str, str]:
    """Make the pages: path below the reference to text."""
    return {
        "models.md": page(
            "Models",
            "What `model.name` of an experiment may be, and the options beside it.",
            *(_model(name) for name in sorted(MODELS)),
            "## First weights\n\nWhat `init_weights.name` may be.",
            *(_initialiser(name) for name in sorted(INITIALISERS)),
        ),
        "augmentations.md": page(
            "Augmentations",
            "What `augment` of an experiment may list. What they keep right, and pictures of each:"
            " [augmentations](../augmentations.md).",
            *_families(),
        ),
    }


def _model(name: str) -> str:
    build = builder(name)
    module = __import__(build.__module__, fromlist=["build"])
    users = sorted({one.task for one in declared("experiments") if one.values["model"]["name"] == name})
    tasks = ", ".join(f"[{task}](tasks/{task}.md)" for task in users)
    return "\n\n".join(
        [
            f"## {name}",
            docstring_of(module).summary,
            sentence(docstring_of(build).summary) + (f" Used for {tasks}." if tasks else ""),
            options_of(build),
        ]
    )


def _initialiser(name: str) -> str:
    function = INITIALISERS[name]
    return f"### {name}\n\n{docstring_of(function).summary}\n\n{options_of(function)}"


def _families() -> list[str]:
    described = sorted((describe(name) for name in AUGMENTS), key=lambda one: (one.family, one.name))
    return [
        f"## {family}\n\n" + "\n\n".join(_augmentation(one) for one in members)
        for family, members in groupby(described, key=lambda one: one.family)
    ]


def _augmentation(one: Description) -> str:
    rows = [
        (f"`{o.name}`", "**required**" if o.default == REQUIRED else shown_default(o.default), o.meaning)
        for o in one.options
    ]
    options = table(("option", "default", "meaning"), rows) if rows else "No options."
    text = f"### {one.name}\n\n{one.summary} For {', '.join(one.tasks)}."
    return "\n\n".join(part for part in (text, one.remark, options) if part)
