"""The rungs from before 2015 and localisation: one contract, inputs that break detectors."""

import pytest
import torch

from cv_pipelines.models import builder

CLASSES = 3
RUNGS = {
    "fast_rcnn": {"weights": "none", "min_size": 64, "max_size": 96, "stride": 8, "head_width": 16},
    "localizer": {"weights": "none", "size": 64, "width": 8, "hidden": 16},
    "rcnn": {"weights": "none", "crop": 32, "sampled_regions": 8},
    "sliding_window": {"sides": [20.0, 40.0], "width": 4, "hidden": 8},
}
SEVERAL = sorted(RUNGS.keys() - {"localizer"})


def target(boxes):
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {"boxes": corners, "labels": torch.arange(len(corners)) % CLASSES}


def images(*sizes):
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(3, height, width, generator=generator) for height, width in sizes]


@pytest.fixture(scope="module", params=sorted(RUNGS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def detector(name):
    torch.manual_seed(0)
    return builder(name)(3, CLASSES, **RUNGS[name], score_threshold=0.0)


def learn(detector, pictures, targets):
    """Losses that are finite, as are their gradients."""
    detector.train()
    detector.zero_grad()
    total = torch.stack(list(detector(pictures, targets).values())).sum()
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


@pytest.mark.parametrize(
    ("sizes", "boxes"),
    [
        ([(64, 64), (64, 64)], [[], []]),
        ([(64, 64), (64, 64)], [[[8, 8, 40, 40]], []]),
        ([(64, 64)], [[[8, 8, 9, 9], [63, 63, 64, 64], [0, 5, 1, 6]]]),
        ([(300, 1)], [[[0, 20, 1, 90]]]),
        ([(20, 900)], [[[300, 2, 330, 18]]]),
        ([(64, 64), (30, 90), (128, 40)], [[[4, 4, 28, 28]]] * 3),
        ([(2, 2), (64, 64)], [[], []]),
    ],
)
def test_hard_inputs(detector, sizes, boxes):
    pictures = images(*sizes)
    learn(detector, pictures, [target(own) for own in boxes])
    look(detector, pictures)


def test_an_image_without_structure(detector):
    """Nothing is proposed in it but the image itself."""
    flat = [torch.zeros(3, 64, 64), torch.full((3, 64, 64), 0.3)]
    learn(detector, flat, [target([]), target([[8, 8, 40, 40]])])
    look(detector, flat)


def test_five_hundred_objects_in_an_image(detector):
    torch.manual_seed(3)
    corner, side = torch.rand(500, 2) * 50, 1 + torch.rand(500, 2) * 13
    learn(detector, images((64, 64)), [target(torch.cat([corner, corner + side], 1).tolist())])


def test_bfloat16_changes_the_losses_little_and_keeps_boxes_exact(detector):
    inputs = images((64, 64), (64, 64)), [target([[8, 8, 40, 40]]), target([[20, 10, 60, 64]])]
    torch.manual_seed(1)
    exact = learn(detector, *inputs)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        rough = learn(detector, *inputs)
        look(detector, inputs[0])
    assert rough.dtype == torch.float32
    assert rough == pytest.approx(float(exact), rel=0.1)


@pytest.mark.parametrize("name", SEVERAL)
def test_the_number_of_detections_is_limited(name):
    torch.manual_seed(0)
    detector = builder(name)(3, CLASSES, **RUNGS[name], score_threshold=0.0, max_detections=7)
    assert max(len(one["boxes"]) for one in look(detector, images((64, 64), (50, 60)))) == 7


@pytest.mark.parametrize("name", SEVERAL)
def test_targets_are_not_changed(name):
    detector = builder(name)(3, CLASSES, **RUNGS[name])
    given = target([[8, 8, 40, 40], [1, 2, 30, 60]])
    kept = {key: value.clone() for key, value in given.items()}
    detector.train()(images((64, 64)), [given])
    assert all(torch.equal(given[key], kept[key]) for key in kept)
