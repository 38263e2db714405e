"""How samples are shared among ranks: each batch and each validation sample exactly once."""

from itertools import chain

import pytest
from torch.utils.data import BatchSampler

from cv_pipelines.data.datasets import EpochSampler
from cv_pipelines.data.ranks import (
    RankBatches,
    any_rank,
    brought,
    first,
    gathered,
    rank,
    total,
    validation_batches,
    world,
)
from cv_pipelines.errors import ConfigError


@pytest.mark.parametrize(
    ("length", "batch", "ranks", "drop", "done"),
    [(23, 6, 2, True, 0), (23, 6, 2, True, 12), (23, 14, 2, False, 0), (64, 12, 3, True, 24)],
)
def test_the_ranks_parts_make_up_the_batches_of_one_process(length, batch, ranks, drop, done):
    def sampler():
        return EpochSampler(length, seed=3, epoch=1, done=done)

    shares = [RankBatches(sampler(), batch, drop, number, ranks) for number in range(ranks)]
    together = [list(chain(*parts)) for parts in zip(*shares, strict=True)]
    alone = list(BatchSampler(sampler(), batch, drop))
    assert together == alone
    assert len(alone) > 0
    assert {len(share) for share in shares} == {len(BatchSampler(EpochSampler(length, 3), batch, drop))}
    assert [len(whole) for whole in alone] == [shares[0].size(done // batch + k) for k in range(len(alone))]
    for parts in zip(*shares, strict=True):
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_another_epoch_has_another_order():
    share = RankBatches(EpochSampler(20, 0), 4, True, 0, 2)
    before = list(share)
    share.sampler.set_epoch(1)
    assert list(share) != before


def test_a_last_batch_with_nothing_for_some_rank_is_refused():
    with pytest.raises(
        ConfigError, match=r"train\.batch_size: 13 samples in batches of 12 leave one of 1, .* 2 ranks"
    ):
        RankBatches(EpochSampler(13, 0), 12, False, 0, 2)
    RankBatches(EpochSampler(13, 0), 12, True, 0, 2)


@pytest.mark.parametrize("length", [2, 3, 7, 16, 17, 100, 101])
@pytest.mark.parametrize(("batch", "ranks"), [(1, 2), (8, 2), (64, 2), (9, 3), (2, 3)])
def test_each_validation_sample_is_predicted_once(length, batch, ranks):
    if length < ranks:
        with pytest.raises(ConfigError, match="validation samples are less than one for each of 3"):
            validation_batches(length, batch, 0, ranks)
        return
    shares = [validation_batches(length, batch, number, ranks) for number in range(ranks)]
    assert list(chain.from_iterable(chain.from_iterable(shares))) == list(range(length))
    assert len({len(share) for share in shares}) == 1
    sizes = [len(step) for share in shares for step in share]
    assert min(sizes) > 0
    assert max(sizes) <= max(batch // ranks, 1) + 1


def agreed():
    return (
        (rank(), world()),
        first(lambda: f"made by {rank()}"),
        gathered(rank() * 10),
        brought(rank() * 10),
        (any_rank(rank() == 1), any_rank(False)),
        total(rank() + 0.5),
    )


def test_what_ranks_agree_on(in_ranks):
    one, two = in_ranks(agreed)
    shared = ("made by 0", [0, 10])
    assert one == ((0, 2), *shared, [0, 10], (True, False), 2.0)
    assert two == ((1, 2), *shared, [], (True, False), 2.0)


def test_one_process_agrees_with_itself():
    assert agreed() == ((0, 1), "made by 0", [0], [0], (False, False), 0.5)
