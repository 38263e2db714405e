"""The rungs of the detection ladder: one contract, torchvision's own outputs, inputs that break detectors."""

import pytest
import torch
from tests.models.detecting import CLASSES, images, learn, look
from torchvision.models.detection import FCOS, FasterRCNN, KeypointRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

from cv_pipelines.models import builder
from cv_pipelines.models.detector import PyramidBackbone
from cv_pipelines.models.ssd import L2Norm, MapsBackbone

RESIZED = {"weights": "none", "min_size": 64, "max_size": 96, "first_stride": 8, "score_threshold": 0.01}
REGIONS = {**RESIZED, "width": 16, "head_width": 16, "anchor_scale": 4.0, "proposals": 30}
RUNGS = {
    "faster_rcnn": REGIONS,
    "fcos": {**RESIZED, "width": 32, "head_convs": 1},
    "keypoint_rcnn": {**REGIONS, "keypoint_width": 8, "keypoint_convs": 2, "points": 4},
    "mask_rcnn": {**REGIONS, "mask_width": 8, "mask_convs": 2},
    "retinanet": {**RESIZED, "width": 32, "head_convs": 4, "head_norm": False, "anchor_scale": 3.0},
    "ssd": {
        "weights": "none",
        "size": 64,
        "extra_widths": [16],
        "box_scales": [0.2, 0.8],
        "score_threshold": 0.01,
    },
}
LOSSES = {
    "faster_rcnn": {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"},
    "fcos": {"classification", "bbox_regression", "bbox_ctrness"},
    "keypoint_rcnn": {
        "loss_classifier",
        "loss_box_reg",
        "loss_objectness",
        "loss_rpn_box_reg",
        "loss_keypoint",
    },
    "mask_rcnn": {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg", "loss_mask"},
    "retinanet": {"classification", "bbox_regression"},
    "ssd": {"classification", "bbox_regression"},
}


WITH_BACKGROUND = {"faster_rcnn", "keypoint_rcnn", "mask_rcnn", "ssd"}
"""Whose class 0 is, in torchvision's numbers."""


def target(boxes, size=(64, 64)):
    """Objects of class 0, 1, 2, 0, … with full masks and four points, three corners and one unknown."""
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    masks = torch.ones(len(corners), *size, dtype=torch.uint8)
    x1, y1, x2, y2 = corners.unbind(1)
    one, none = torch.ones_like(x1), torch.zeros_like(x1)
    places = [(x1, y1, one), (x2 - 1, y1, one), (x1, y2 - 1, one), (none, none, none)]
    points = torch.stack([torch.stack(place, dim=1) for place in places], dim=1)
    labels = torch.arange(len(corners)) % CLASSES
    return {"boxes": corners, "labels": labels, "masks": masks, "keypoints": points}


@pytest.fixture(scope="module", params=sorted(RUNGS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def detector(name):
    torch.manual_seed(0)
    return builder(name)(3, CLASSES, **RUNGS[name])


def test_detections_are_in_the_pixels_of_images_of_several_sizes(detector):
    found = look(detector, images((64, 64), (40, 90), (200, 150)))
    assert sum(len(one["boxes"]) for one in found) > 0


def test_the_number_of_detections_is_limited(name):
    torch.manual_seed(0)
    detector = builder(name)(3, CLASSES, **RUNGS[name] | {"score_threshold": 0.0}, max_detections=7)
    assert max(len(one["boxes"]) for one in look(detector, images((64, 64), (50, 60)))) == 7


def test_targets_are_not_changed(detector):
    given = target([[8, 8, 40, 40], [1, 2, 30, 60]])
    kept = {key: value.clone() for key, value in given.items()}
    detector.train()(images((64, 64)), [given])
    assert all(torch.equal(given[key], kept[key]) for key in kept)


class TestHardInputs:
    """What real data hold, sooner or later."""

    def test_images_without_objects(self, detector, name):
        learn(detector, images((64, 64), (64, 64)), [target([]), target([])], LOSSES[name])

    def test_a_batch_of_one_with_and_one_without_objects(self, detector, name):
        learn(detector, images((64, 64), (64, 64)), [target([[8, 8, 40, 40]]), target([])], LOSSES[name])

    def test_boxes_of_one_pixel(self, detector, name):
        learn(
            detector, images((64, 64)), [target([[8, 8, 9, 9], [63, 63, 64, 64], [0, 5, 1, 6]])], LOSSES[name]
        )

    def test_five_hundred_objects_in_an_image(self, detector, name):
        torch.manual_seed(3)
        corner, side = torch.rand(500, 2) * 50, 1 + torch.rand(500, 2) * 13
        learn(
            detector, images((64, 64)), [target(torch.cat([corner, corner + side], 1).tolist())], LOSSES[name]
        )

    @pytest.mark.parametrize(("size", "box"), [((300, 1), [0, 20, 1, 90]), ((20, 900), [300, 2, 330, 18])])
    def test_images_one_pixel_wide_and_panoramas(self, detector, name, size, box):
        learn(detector, images(size), [target([box], size)], LOSSES[name])
        look(detector, images(size))

    def test_one_small_image_alone(self, detector, name):
        """A batch of one, whose coarsest map may be a single place: it has no statistics to norm by."""
        learn(detector, images((33, 33)), [target([[3, 3, 20, 30]], (33, 33))], LOSSES[name])

    def test_sizes_of_a_batch_may_differ(self, detector, name):
        sizes = [(64, 64), (30, 90), (128, 40)]
        learn(detector, images(*sizes), [target([[4, 4, 28, 28]], size) for size in sizes], LOSSES[name])

    def test_bfloat16_changes_the_losses_little_and_keeps_boxes_exact(self, detector, name):
        inputs = images((64, 64), (64, 64)), [target([[8, 8, 40, 40]]), target([[20, 10, 60, 64]])]
        torch.manual_seed(1)
        exact = learn(detector, *inputs, LOSSES[name])
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            rough = learn(detector, *inputs, LOSSES[name])
            found = look(detector, inputs[0])
        assert rough.dtype == torch.float32
        assert rough == pytest.approx(float(exact), rel=0.1)
        assert all(one["boxes"].dtype == torch.float32 for one in found)


def test_a_long_image_keeps_its_shape_where_it_can():
    """Only a side that would vanish is made longer; the target moves with the image."""
    resize = builder("fcos")(3, CLASSES, **RUNGS["fcos"]).net.transform.resize
    image, moved = resize(*images((960, 2)), target([[0, 480, 2, 960]], (960, 2)))
    assert image.shape == (3, 96, 1)
    assert moved["boxes"].tolist() == [[0, 48, 1, 96]]
    assert moved["masks"].shape == (1, 96, 1)
    assert moved["keypoints"][0, 2].tolist() == pytest.approx([0, 95.9, 1])
    image, moved = resize(*images((100, 50)), target([[10, 20, 50, 100]], (100, 50)))
    assert image.shape == (3, 96, 48)
    assert moved["boxes"][0].tolist() == pytest.approx([9.6, 19.2, 48, 96])


def by_hand(name):
    """torchvision's own model of the same parts, put together here with plain numbers."""
    common = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    sized = common | {"min_size": 64, "max_size": 96}
    scored = {"score_thresh": 0.01, "nms_thresh": 0.5, "detections_per_img": 100}
    if name == "fcos":
        anchors = AnchorGenerator(((8,), (16,), (32,)), ((1.0,),) * 3)
        head = FCOSHead(32, 1, CLASSES, 1)
        backbone = PyramidBackbone("none", 8, 32)
        return FCOS(backbone, CLASSES, anchor_generator=anchors, head=head, **scored, **sized)
    ratios = ((0.5, 1.0, 2.0),) * 3
    if name == "retinanet":
        anchors = AnchorGenerator(((24, 30, 38), (48, 60, 76), (96, 121, 152)), ratios)
        head = RetinaNetHead(32, 9, CLASSES)
        return RetinaNet(
            PyramidBackbone("none", 8, 32), CLASSES, anchor_generator=anchors, head=head, **scored, **sized
        )
    if name == "ssd":
        backbone = MapsBackbone("none", 8, [16])
        boxes = DefaultBoxGenerator([[2, 3]] * 4, scales=[0.2, 0.4, 0.6, 0.8, 1.0])
        return SSD(backbone, boxes, (64, 64), CLASSES + 1, **scored | {"nms_thresh": 0.45}, **common)
    regions = {
        "rpn_anchor_generator": AnchorGenerator(((32,), (64,), (128,)), ratios),
        "rpn_pre_nms_top_n_train": 60,
        "rpn_pre_nms_top_n_test": 30,
        "rpn_post_nms_top_n_train": 30,
        "rpn_post_nms_top_n_test": 30,
        "box_roi_pool": MultiScaleRoIAlign(["0", "1", "2"], 7, 2),
        "box_head": TwoMLPHead(16 * 49, 16),
        "box_predictor": FastRCNNPredictor(16, CLASSES + 1),
        "box_batch_size_per_image": 128,
        **{f"box_{key}": value for key, value in scored.items()},
    }
    if name == "faster_rcnn":
        return FasterRCNN(PyramidBackbone("none", 8, 16), **regions, **sized)
    if name == "keypoint_rcnn":
        points = {
            "keypoint_roi_pool": MultiScaleRoIAlign(["0", "1", "2"], 14, 2),
            "keypoint_head": KeypointRCNNHeads(16, [8, 8]),
            "keypoint_predictor": KeypointRCNNPredictor(8, 4),
        }
        return KeypointRCNN(PyramidBackbone("none", 8, 16), **points, **regions, **sized)
    masks = {
        "mask_roi_pool": MultiScaleRoIAlign(["0", "1", "2"], 14, 2),
        "mask_head": MaskRCNNHeads(16, [8, 8], 1),
        "mask_predictor": MaskRCNNPredictor(8, 8, CLASSES + 1),
    }
    return MaskRCNN(PyramidBackbone("none", 8, 16), **masks, **regions, **sized)


class TestParity:
    """With the same weights and images, torchvision's own outputs, bit for bit."""

    pictures = images((64, 64), (48, 90))
    targets = (target([[8, 8, 40, 40], [1, 20, 30, 60]]), target([[10, 4, 80, 44]], (48, 90)))

    @pytest.fixture
    def peer(self, detector, name):
        peer = by_hand(name)
        peer.load_state_dict(detector.net.state_dict())
        return peer

    def test_losses(self, detector, name, peer):
        shift = int(name in WITH_BACKGROUND)
        theirs = [one | {"labels": one["labels"] + shift} for one in self.targets]
        torch.manual_seed(2)
        ours = detector.train()(self.pictures, list(self.targets))
        torch.manual_seed(2)
        expected = peer.train()(self.pictures, theirs)
        assert ours.keys() == expected.keys()
        for key, loss in ours.items():
            assert torch.equal(loss, expected[key]), key

    def test_detections(self, detector, name, peer):
        shift = int(name in WITH_BACKGROUND)
        with torch.no_grad():
            ours, expected = detector.eval()(self.pictures), peer.eval()(self.pictures)
        for one, other in zip(ours, expected, strict=True):
            assert len(one["boxes"]) > 0
            assert torch.equal(one["labels"] + shift, other["labels"])
            assert all(torch.equal(one[key], other[key]) for key in other if key != "labels")


def test_mask_rcnn_gives_a_mask_of_the_image_for_each_box():
    torch.manual_seed(0)
    detector = builder("mask_rcnn")(3, CLASSES, **RUNGS["mask_rcnn"]).eval()
    with torch.no_grad():
        (found,) = detector(images((50, 80)))
    assert found["masks"].shape == (len(found["boxes"]), 1, 50, 80)
    assert found["masks"].max() <= 1


def test_every_default_box_of_ssd_is_a_share_of_the_image():
    """What a detector of 300 pixels takes for granted does not hold for one of 128: strides, maps, scales."""
    options = {**RUNGS["ssd"], "size": 128, "extra_widths": [16, 16], "box_scales": [0.2, 0.6]}
    net = builder("ssd")(3, CLASSES, **options).net.eval()
    features = list(net.backbone(torch.zeros(1, 3, 128, 128)).values())
    assert [m.shape[-1] for m in features] == [16, 8, 4, 2, 1]
    from torchvision.models.detection.image_list import ImageList

    (boxes,) = net.anchor_generator(ImageList(torch.zeros(1, 3, 128, 128), [(128, 128)]), features)
    assert len(boxes) == 6 * (16**2 + 8**2 + 4**2 + 2**2 + 1)
    first, last = boxes[0], boxes[-6]
    assert first.tolist() == pytest.approx([4 - 12.8, 4 - 12.8, 4 + 12.8, 4 + 12.8])
    assert last.tolist() == pytest.approx([64 - 38.4, 64 - 38.4, 64 + 38.4, 64 + 38.4])


def test_l2_norm_gives_every_place_features_of_size_one():
    maps = torch.tensor([3.0, -300.0]).view(2, 1, 1, 1) * torch.randn(2, 40, 5, 5)
    scaled = L2Norm(40)(maps)
    assert scaled.pow(2).mean(dim=1).sqrt().flatten().tolist() == pytest.approx([1.0] * 50, rel=1e-4)


class TestKeypointRcnn:
    """Points beside boxes."""

    def test_points_are_in_the_pixels_of_the_image_for_each_box(self):
        torch.manual_seed(0)
        detector = builder("keypoint_rcnn")(3, CLASSES, **RUNGS["keypoint_rcnn"]).eval()
        with torch.no_grad():
            (found,) = detector(images((50, 80)))
        assert found["keypoints"].shape == (len(found["boxes"]), 4, 3)
        x, y, shown = found["keypoints"].unbind(-1)
        x1, y1, x2, y2 = (side[:, None] for side in found["boxes"].unbind(1))
        assert (shown == 1).all()
        assert ((x >= x1 - 1) & (x <= x2 + 1) & (y >= y1 - 1) & (y <= y2 + 1)).all()

    def test_objects_of_which_no_point_is_known_have_no_loss_of_points(self):
        torch.manual_seed(0)
        detector = builder("keypoint_rcnn")(3, CLASSES, **RUNGS["keypoint_rcnn"])
        hidden = target([[8, 8, 40, 40]])
        hidden["keypoints"] = torch.zeros_like(hidden["keypoints"])
        losses = learn_parts(detector, hidden)
        assert losses["loss_keypoint"] == 0
        assert losses["loss_box_reg"] >= 0

    def test_where_an_unknown_point_would_lie_changes_nothing(self):
        losses = []
        for place in (0.0, 30.0):
            torch.manual_seed(0)
            detector = builder("keypoint_rcnn")(3, CLASSES, **RUNGS["keypoint_rcnn"])
            given = target([[8, 8, 40, 40]])
            given["keypoints"][:, 3, :2] = place
            losses.append(learn_parts(detector, given)["loss_keypoint"])
        assert losses[0] == losses[1] > 0


def learn_parts(detector, given):
    torch.manual_seed(1)
    return {key: float(loss.detach()) for key, loss in detector.train()(images((64, 64)), [given]).items()}
