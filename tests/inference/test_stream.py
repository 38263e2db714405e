"""Reading ahead: in order, in bounds, and without disturbing who computes."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from cv_pipelines.inference.stream import batched, mapped_ahead


@pytest.fixture
def three_threads():
    """Torch computes with three threads, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_batches_hold_all_values_in_order():
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batched([], 2)) == []


def test_results_come_in_order_however_long_each_takes():
    first = threading.Event()

    def work(value):
        # the first value is done only after another one is
        assert value or first.wait(10)
        first.set()
        return value * 10

    assert list(mapped_ahead(work, range(6), 2)) == [0, 10, 20, 30, 40, 50]


def test_no_more_is_taken_than_is_asked_for():
    taken = []

    def values():
        for value in range(100):
            taken.append(value)
            yield value

    results = mapped_ahead(lambda value: value, values(), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 3 + 2 + 2
    results.close()
    assert len(taken) <= 3 + 2 + 2


def test_what_goes_wrong_in_a_thread_reaches_the_caller():
    def work(value):
        if value == 2:
            raise ValueError("two")
        return value

    results = mapped_ahead(work, range(4), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


@pytest.mark.parametrize("taken", [1, 4])
def test_reading_threads_compute_alone_and_others_as_before(three_threads, taken):
    results = mapped_ahead(lambda _: torch.get_num_threads(), range(4), 2)
    assert {next(results) for _ in range(taken)} == {1}
    assert torch.get_num_threads() == 3
    results.close()
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 3
