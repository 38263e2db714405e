"""Batch norms of several ranks against PyTorch's own over the whole batch."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from cv_pipelines.models.synchronised import synchronise

NORMS = {
    "2d": (lambda: nn.BatchNorm2d(3), (7, 3, 4, 5)),
    "1d": (lambda: nn.BatchNorm1d(3), (7, 3)),
    "signals, cumulative": (lambda: nn.BatchNorm1d(3, momentum=None), (7, 3, 6)),
    "not affine": (lambda: nn.BatchNorm2d(3, affine=False), (7, 3, 2, 2)),
    "with an activation": (lambda: BatchNormAct2d(3), (7, 3, 4, 4)),
}


@pytest.mark.parametrize("case", NORMS)
def test_two_ranks_normalise_as_one_does(case, in_ranks):
    make, shape = NORMS[case]
    torch.manual_seed(0)
    x, direction = 5 + 3 * torch.randn(shape), torch.randn(shape)
    alone = nn.Sequential(make())
    whole = x.clone().requires_grad_()
    for _ in range(2):
        expected = alone(whole)
        (expected * direction).sum().backward()

    def one():
        from cv_pipelines.data.ranks import rank

        rows = slice(0, 4) if rank() == 0 else slice(4, 7)
        twin = synchronise(nn.Sequential(make()), gpu=False)
        mine = x[rows].clone().requires_grad_()
        for _ in range(2):
            found = twin(mine)
            (found * direction[rows]).sum().backward()
        weights = [p.grad for p in twin.parameters()]
        return found.detach(), mine.grad, weights, twin.state_dict(), twin.eval()(x).detach()

    parts = in_ranks(one)
    assert all(isinstance(part, tuple) for part in parts), parts
    close = {"atol": 2e-5, "rtol": 1e-5}
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), expected.detach(), **close)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), whole.grad, **close)
    for index, parameter in enumerate(alone.parameters()):
        torch.testing.assert_close(sum(part[2][index] for part in parts), parameter.grad, **close)
    for part in parts:
        torch.testing.assert_close(dict(part[3]), dict(alone.state_dict()), **close)
        torch.testing.assert_close(part[4], alone.eval()(x).detach(), **close)


def test_only_batch_norms_are_replaced_and_all_names_stay():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.BatchNorm2d(3), nn.GroupNorm(1, 3)))
    before, weight = model.state_dict().keys(), model[1][0].weight
    changed = synchronise(model, gpu=True)
    assert changed is model
    assert changed.state_dict().keys() == before
    assert changed[1][0].weight is weight
    assert isinstance(changed[1][0], nn.SyncBatchNorm)
    assert type(changed[1][1]) is nn.GroupNorm
