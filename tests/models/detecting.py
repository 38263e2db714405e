"""What every detector is held to while it learns and when it looks."""

import torch

CLASSES = 3


def images(*sizes):
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(3, height, width, generator=generator) for height, width in sizes]


def learn(detector, pictures, targets, names=None):
    """Losses that are finite, as are their gradients; of these names, if any are given."""
    detector.train()
    detector.zero_grad()
    losses = detector(pictures, targets)
    assert names is None or set(losses) == names
    total = torch.stack(list(losses.values())).sum()
    assert torch.isfinite(total)
    total.backward()
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters() if p.grad is not None)
    return total.detach()


def look(detector, pictures):
    """What is found, which lies inside each image."""
    detector.eval()
    with torch.no_grad():
        found = detector(pictures)
    assert len(found) == len(pictures)
    for image, one in zip(pictures, found, strict=True):
        height, width = image.shape[-2:]
        limits = torch.tensor([width, height, width, height])
        assert (one["boxes"] >= 0).all()
        assert (one["boxes"] <= limits + 1e-3).all()
        assert ((one["scores"] >= 0) & (one["scores"] <= 1)).all()
        assert ((one["labels"] >= 0) & (one["labels"] < CLASSES)).all()
        assert one["boxes"].shape == (len(one["labels"]), 4)
        assert len(one["labels"]) == len(one["scores"]) <= 100
        assert (one["scores"].diff() <= 0).all()
        assert one["boxes"].dtype == one["scores"].dtype == torch.float32
    return found
