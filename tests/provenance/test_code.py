"""Which code counts: what is imported from the roots, without comments, docstrings and registries."""

import importlib
import itertools
import os

import pytest

from cv_pipelines.provenance.code import code_of

names = itertools.count()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes modules of a package of its own; returns the package's name and the writing function."""
    name = f"toy_package_{next(names)}"
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    clock = itertools.count(1)

    def write(**modules):
        for module, text in modules.items():
            path = folder / f"{module}.py"
            path.write_text(text.replace("PKG", name), encoding="utf8")
            os.utime(path, ns=(next(clock) * 10**9,) * 2)  # files of one clock tick differ all the same
        importlib.invalidate_caches()

    write(__init__="")
    return name, write


def code(package, *roots, without=()):
    found, _ = code_of([f"{package}.{root}" for root in roots], [f"{package}.{one}" for one in without])
    return {name.removeprefix(f"{package}."): digest for name, digest in found.items()}


def test_imports_are_followed_also_relative_ones_and_those_inside_functions(package):
    name, write = package
    write(
        a="from PKG import b\nfrom . import c\ndef f():\n    from PKG.d import x\n",
        b="import PKG.e",
        c="",
        d="x = 1",
        e="",
        unused="",
    )
    assert set(code(name, "a")) - {name} == {"a", "b", "c", "d", "e"}


def test_what_only_type_checkers_import_does_not_count(package):
    name, write = package
    write(a="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from PKG import b\n", b="")
    assert set(code(name, "a")) - {name} == {"a"}


def test_what_is_left_out_takes_its_own_imports_with_it(package):
    name, write = package
    write(a="from PKG import b, d", b="from PKG import c", c="", d="")
    assert set(code(name, "a", without=["b"])) - {name} == {"a", "d"}


SOURCE = '"""Words."""\n\n\ndef f(x):\n    """More words."""\n    return x + 1\n'


@pytest.mark.parametrize(
    "other",
    [
        SOURCE.replace("Words", "Other words"),
        SOURCE.replace("More", "No more"),
        SOURCE.replace("return", "# a comment\n    return"),
        SOURCE.replace("x + 1", "(x  +  1)"),
        "MODELS = {'new': 'module:build'}\n" + SOURCE,
    ],
    ids=["docstring of the module", "docstring of a function", "comment", "layout", "entry of a registry"],
)
def test_what_changes_no_result_changes_no_digest(package, other):
    name, write = package
    write(a=SOURCE)
    before = code(name, "a")["a"]
    write(a=other)
    assert code(name, "a")["a"] == before


@pytest.mark.parametrize(
    "other",
    [
        SOURCE.replace("x + 1", "x + 2"),
        SOURCE.replace("x + 1", "x - 1"),
        SOURCE.replace("x + 1", "x + 1.0"),
        SOURCE.replace("(x)", "(x, y=0)"),
        SOURCE + "f = print\n",
        "RATE = {'new': 'module:build'}\n" + SOURCE,
    ],
)
def test_what_may_change_a_result_changes_the_digest(package, other):
    name, write = package
    write(a=SOURCE)
    before = code(name, "a")["a"]
    write(a=other)
    assert code(name, "a")["a"] != before


def test_the_same_operations_nested_otherwise_are_told_apart(package):
    name, write = package
    write(a="x = a - (b - c)")
    before = code(name, "a")["a"]
    write(a="x = (a - b) - c")
    assert code(name, "a")["a"] != before


def test_libraries_that_compute_are_named_with_their_versions(package):
    import numpy as np
    import torch

    name, write = package
    write(a="import json\nimport numpy as np\nfrom torch import nn\nimport rich")
    assert code_of([f"{name}.a"])[1] == {"numpy": np.__version__, "torch": torch.__version__.split("+")[0]}


def test_modules_of_the_project_are_named_by_their_path():
    found, _ = code_of(["cv_pipelines.data.jpeg"])
    assert "data/jpeg.py" in found


def test_a_name_that_is_no_module_is_passed_over():
    assert code_of(["cv_pipelines.nowhere", "nowhere.at.all"]) == ({}, {})
