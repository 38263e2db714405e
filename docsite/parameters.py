"""The reference of parameters files, made from the pydantic models that check them."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any, get_args

from pydantic import BaseModel

from cv_pipelines import config
from cv_pipelines.config.sections import Choice
from docsite.docstrings import docstring_of
from docsite.markdown import page, sentence, table
from docsite.values import allowed, default_of

SUFFIX = "Config"
PLACES = {
    "`cv_pipelines.data.augment.AUGMENTS`": "[augmentations](augmentations.md)",
    "`cv_pipelines.models.MODELS`": "[models](models.md)",
    "`cv_pipelines.models.initialisation.INITIALISERS`": "[first weights](models.md#first-weights)",
    "`cv_pipelines.sources.READERS`": "[readers](sources/index.md)",
    "`cv_pipelines.tasks.TASKS`": "[tasks](tasks/index.md)",
}
"""Where a reader of the site finds what docstrings name."""

HEAD = ("key", "value", "default", "meaning")


def models() -> list[type[BaseModel]]:
    """Return the pydantic models that `cv_pipelines.config` holds, by name."""
    modules = [config]
    modules += [import_module(m.name) for m in pkgutil.iter_modules(config.__path__, f"{config.__name__}.")]
    found = {
        member
        for module in modules
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, BaseModel) and member.__module__.startswith(config.__name__)
    }
    return sorted(found, key=lambda one: one.__name__)


def roots() -> list[type[BaseModel]]:
    """Return the models of whole sections, one a kind of parameters file."""
    return [model for model in models() if model.__name__.endswith(SUFFIX)]


def kind_of(root: type[BaseModel]) -> str:
    """Return what a whole section declares, such as `experiment` or `source`."""
    return root.__name__.removesuffix(SUFFIX).lower()


def sections_of(root: type[BaseModel]) -> list[type[BaseModel]]:
    """Return a model and those of its keys and of theirs, in the order in which they are met.

    A model that a key's type does not show, for a validator makes it, is named in the key's meaning.
    """
    by_name = {model.__name__: model for model in models()}
    found = [root]
    for model in found:
        meanings = docstring_of(model).meanings
        for key, field in model.model_fields.items():
            named = [
                by_name[word] for word in re.findall(r"`(\w+)`", meanings.get(key, "")) if word in by_name
            ]
            found += [one for one in [*_models_in(field.annotation), *named] if one not in found]
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def pages() -> dict[str, str]:
    """Make a page a kind of parameters file: path below the reference to text."""
    return {f"{kind_of(root)}.md": _page(root) for root in roots()}


def _page(root: type[BaseModel]) -> str:
    kind = kind_of(root)
    place = f"`conf/base/parameters/{kind.removesuffix('y')}{'ies' if kind.endswith('y') else 's'}/`"
    where = f"A top-level section of a file in {place}. A key that is not listed here is refused."
    if root.model_config.get("extra") == "allow":
        where = f"A top-level section of a file in {place}. Other keys are options of what it names."
    first, *others = sections_of(root)
    return page(
        f"Every key of {'an' if kind[0] in 'aeiou' else 'a'} {kind}",
        docstring_of(first).summary,
        where,
        keys_of(first),
        *(f"## {model.__name__}\n\n{docstring_of(model).summary}\n\n{keys_of(model)}" for model in others),
    )


def keys_of(model: type[BaseModel]) -> str:
    """Make the table of a model's keys, and say which of them belong to which name."""
    rows = [
        (f"`{key}`", allowed(field.annotation, field.metadata), default_of(field), meaning(model, key))
        for key, field in model.model_fields.items()
        if (model.__name__, key) != ("SourceConfig", "name")  # a source has no key `name`
    ]
    text = table(HEAD, rows)
    if issubclass(model, Choice):
        own = [
            (f"`{name}`", ", ".join(f"`{key}`" for key in keys) or "none")
            for name, keys in model.options.items()
        ]
        text += "\n\n" + table(("`name`", "keys that only some names have"), own)
    return text


def meaning(model: type[BaseModel], key: str) -> str:
    """Say what a key means: as the model's docstring has it, else as that of the key's own section."""
    said = docstring_of(model).meanings.get(key, "")
    sections = list(_models_in(model.model_fields[key].annotation))
    said = said or (docstring_of(sections[0]).summary if sections else "")
    for name, place in PLACES.items():
        said = said.replace(name, place)
    return sentence(said)
