"""Batches that come through reused memory are those that were sent, for as long as they are held."""

import gc
from collections import deque

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from cv_pipelines.data.transport import PIECES, with_workers


class Drawn(Dataset):
    """Samples that tell their index in every value; every third one is larger, as of another size."""

    def __len__(self):
        return 64

    def __getitem__(self, index):
        side = 40 if index % 3 else 90
        return {
            "index": index,
            "image": torch.full((3, side, side), index, dtype=torch.uint8),
            "signal": torch.full((9, 128), index / 7),
            "name": f"sample {index}",
        }


def nested(items):
    """A batch as detectors have it: lists, dicts in lists, texts, an empty tensor, odd sizes and layouts."""
    index = torch.tensor([item["index"] for item in items])
    return {
        "index": index,
        "images": [item["image"] for item in items],
        "signal": torch.stack([item["signal"] for item in items]).permute(0, 2, 1),
        "targets": [{"boxes": torch.zeros(0, 4), "score": torch.tensor(item["index"] / 3)} for item in items],
        "flags": index % 2 == 0,
        "half": index.to(torch.bfloat16),
        "pair": (index, "text"),
        "names": [item["name"] for item in items],
        "count": len(items),
    }


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.stride() == other.stride() and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and all(map(same, one, other))
    return one == other


def loader(workers, collate=nested, **more):
    return DataLoader(Drawn(), 4, **with_workers(workers, collate), **more)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_arrive_as_they_were_made(workers):
    wanted = [nested(items) for items in DataLoader(Drawn(), 4, collate_fn=list)]
    got = list(loader(workers))
    assert len(got) == 16
    assert all(map(same, wanted, got))


def test_without_workers_nothing_is_sent():
    assert all(map(same, list(loader(0)), list(loader(2))))


def test_batches_that_are_held_are_not_written_to():
    """An epoch has more batches than there are pieces; parts are held when the rest is gone."""
    held = [(batch["index"].tolist(), batch["images"][2]) for batch in loader(1)]
    assert len(held) > PIECES
    assert all((image == indices[2]).all() for indices, image in held)


def test_memory_is_used_again():
    places = {batch["signal"].untyped_storage().data_ptr() // 4096 for batch in loader(1)}
    assert len(places) <= PIECES


def test_two_passes_at_once_do_not_mix():
    both = loader(2)
    for one, other in zip(both, both, strict=True):
        assert same(one, other)


def test_a_pass_that_is_left_early_does_not_harm_the_next():
    batches = loader(2, persistent_workers=True)
    for _ in range(4):
        next(iter(batches))
    assert [index for batch in batches for index in batch["index"].tolist()] == list(range(64))


def test_workers_that_are_not_forked():
    batches = loader(1, default_collate_of_signals, multiprocessing_context="spawn")
    got = [batch["signal"] for batch in batches]
    wanted = [batch["signal"] for batch in loader(0, default_collate_of_signals)]
    assert same(wanted, got)


def default_collate_of_signals(items):
    return default_collate([{"signal": item["signal"]} for item in items])


def mapped():
    with open("/proc/self/maps") as file:
        return sum("torch_" in line for line in file)


def test_what_an_ended_pass_had_mapped_is_let_go():
    before = mapped()
    for _ in range(3):
        batches = iter(loader(2))
        first = next(batches)
        assert mapped() > before
        deque(batches, maxlen=0)
        del batches, first
    gc.collect()
    assert mapped() <= before
