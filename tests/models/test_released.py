"""torchvision's released detectors: their state dicts fit by name, and predict COCO's classes."""

import re

import pytest
import torch
from torchvision.models import get_model, get_weight
from torchvision.ops.misc import FrozenBatchNorm2d

from cv_pipelines.errors import ConfigError
from cv_pipelines.models import builder
from cv_pipelines.models.released import Architecture, coco_numbers

ARCHITECTURES = list(Architecture.__args__)
SMALL = "ssdlite320_mobilenet_v3_large"
FROZEN = "fasterrcnn_mobilenet_v3_large_320_fpn"


def build(n_classes=80, **options):
    return builder("torchvision_detector")(3, n_classes, **options)


def released(architecture):
    """The module that torchvision would load its released weights into."""
    return get_model(architecture, weights=None, weights_backbone=None, num_classes=91)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A state dict of the form and the names that torchvision offers for download."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "ssdlite.pth"
    torch.save(released(SMALL).state_dict(), path)
    return path


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_tensor_of_a_released_detector_has_its_place(architecture):
    with torch.device("meta"):
        theirs = released(architecture)
        ours = build(architecture=architecture, classes="coco").net.state_dict()
    expected = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    if any(isinstance(layer, FrozenBatchNorm2d) for layer in build_layers(architecture)):
        expected = {
            name: shape
            for name, shape in expected.items()
            if not (name.startswith("backbone") and name.endswith("num_batches_tracked"))
        }
    assert {name: tensor.shape for name, tensor in ours.items()} == expected


def build_layers(architecture):
    with torch.device("meta"):
        return list(build(architecture=architecture, classes="coco").net.backbone.modules())


def test_numbers_of_coco_are_the_official_ids_with_their_gaps():
    numbers = coco_numbers()
    assert len(numbers) == 80
    assert numbers[:12] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13]
    assert numbers[-1] == 90


def test_a_file_predicts_what_torchvision_predicts(file):
    """In our classes, from images normalised as ours are, and nothing of numbers that no class has."""
    ours = build(architecture=SMALL, classes="coco", weights=str(file), score_threshold=0.0).eval()
    theirs = released(SMALL)
    theirs.load_state_dict(torch.load(file, weights_only=True))
    theirs.eval().score_thresh, theirs.detections_per_img = 0.0, 100
    raw = torch.randint(0, 256, (3, 90, 120), generator=torch.Generator().manual_seed(1)).float()
    with torch.no_grad():
        (expected,) = theirs([raw / 255])
        (found,) = ours([(raw - 127) / 128])
    names = get_weight("SSDLite320_MobileNet_V3_Large_Weights.COCO_V1").meta["categories"]
    known = torch.tensor([names[label] not in ("N/A", "__background__") for label in expected["labels"]])
    assert known.sum() > 0
    assert torch.equal(torch.tensor(coco_numbers())[found["labels"]], expected["labels"][known])
    assert torch.allclose(found["boxes"], expected["boxes"][known], atol=1e-3)
    assert torch.allclose(found["scores"], expected["scores"][known], atol=1e-5)


def test_a_file_starts_all_but_the_class_layers_of_other_classes(file):
    ours = build(3, architecture=SMALL, weights=str(file)).net.state_dict()
    theirs = torch.load(file, weights_only=True)
    same = {name for name in ours if ours[name].shape == theirs[name].shape}
    last = re.compile(r"head\.classification_head\.module_list\.\d\.1\.(weight|bias)")
    assert {name for name in ours if name not in same} == {name for name in theirs if last.fullmatch(name)}
    assert all(torch.equal(ours[name], theirs[name]) for name in same)


def test_frozen_norms_take_the_statistics_of_a_file(tmp_path):
    """What torchvision offers was saved from frozen batch norms: without counts of batches."""
    torch.manual_seed(0)
    state = {k: v for k, v in released(FROZEN).state_dict().items() if "num_batches_tracked" not in k}
    torch.save(state, tmp_path / "w.pth")
    ours = build(architecture=FROZEN, classes="coco", weights=str(tmp_path / "w.pth")).net
    assert all(torch.equal(value, state[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "nowhere.pth"}, "nowhere.pth: no such file"),
        ({"classes": "coco", "n_classes": 3}, "'coco' has 80 classes, the source 3; allowed is 'own'"),
    ],
)
def test_what_does_not_fit_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        build(architecture=SMALL, **options)


def test_a_file_of_another_architecture_is_refused(file):
    with pytest.raises(ConfigError, match="not of this architecture"):
        build(architecture=FROZEN, classes="coco", weights=str(file))
