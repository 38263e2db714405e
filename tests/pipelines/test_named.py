"""A node's function that is told its first arguments stays a function that tools can look into."""

import inspect

import pytest

from cv_pipelines.pipelines.named import told


def add(name: str, first: int, second: int = 2) -> str:
    """Add two numbers."""
    return f"{name}: {first + second}"


def test_it_is_called_with_what_is_left():
    assert told(add, "sum")(1) == "sum: 3"
    assert told(add, "sum", 5)(second=6) == "sum: 11"


def test_it_looks_like_the_function():
    bound = told(add, "sum")
    assert inspect.isfunction(bound)
    assert (bound.__name__, bound.__doc__) == ("add", "Add two numbers.")
    assert inspect.getsource(bound) == inspect.getsource(add)
    assert inspect.getfile(bound) == inspect.getfile(add) == __file__


def test_wrong_inputs_are_seen_by_its_signature():
    signature = inspect.signature(told(add, "sum"), follow_wrapped=False)
    assert list(signature.parameters) == ["first", "second"]
    with pytest.raises(TypeError, match="third"):
        signature.bind(first=1, third=3)
