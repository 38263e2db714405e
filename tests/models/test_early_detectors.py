"""The rungs from before 2015 and localisation: one contract, inputs that break detectors."""

import pytest
import torch
from tests.models.detecting import CLASSES, images, learn, look

from cv_pipelines.models import builder

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


@pytest.fixture(scope="module", params=sorted(RUNGS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def detector(name):
    torch.manual_seed(0)
    return builder(name)(3, CLASSES, **RUNGS[name], score_threshold=0.0)


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
