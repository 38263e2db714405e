"""RT-DETR: the contract of detectors, the library's own losses, inputs that break detectors."""

import sys

import pytest
import torch
from torch import nn
from torchvision.ops import box_convert

from cv_pipelines.errors import ConfigError
from cv_pipelines.models import builder

transformers = pytest.importorskip("transformers")
from transformers.loss.loss_rt_detr import RTDetrLoss  # noqa: E402 - where the library is not, neither is this

CLASSES = 3
LOSSES = {"loss_vfl", "loss_bbox", "loss_giou"}
SMALL = {
    "weights": "none",
    "size": 64,
    "width": 32,
    "hidden": 32,
    "queries": 20,
    "decoder_layers": 2,
    "denoising": 8,
    "score_threshold": 0.0,
}


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    return builder("rt_detr")(3, CLASSES, **SMALL)


def images(*sizes):
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(3, height, width, generator=generator) for height, width in sizes]


def target(boxes):
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {"boxes": corners, "labels": torch.arange(len(corners)) % CLASSES}


def learn(detector, pictures, targets):
    detector.train().zero_grad()
    losses = detector(pictures, targets)
    assert set(losses) == LOSSES
    total = torch.stack(list(losses.values())).sum()
    assert torch.isfinite(total)
    total.backward()
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters() if p.grad is not None)
    return losses


def look(detector, pictures):
    detector.eval()
    with torch.no_grad():
        return detector(pictures)


def test_detections_are_in_the_pixels_of_images_of_several_sizes(detector):
    sizes = [(64, 64), (40, 90), (200, 150), (300, 1)]
    for (height, width), one in zip(sizes, look(detector, images(*sizes)), strict=True):
        limits = torch.tensor([width, height, width, height])
        assert ((one["boxes"] >= 0) & (one["boxes"] <= limits + 1e-3)).all()
        assert ((one["labels"] >= 0) & (one["labels"] < CLASSES)).all()
        assert len(one["boxes"]) == len(one["labels"]) == len(one["scores"]) == 20 * CLASSES
        assert (one["scores"].diff() <= 0).all()


def test_what_is_found_is_what_the_library_says(detector):
    """Its own post-processing of its own outputs, on an image that needs no resize."""
    (picture,) = images((64, 64))
    (found,) = look(detector, [picture])
    with torch.no_grad():
        levels = [p(m) for p, m in zip(detector.projection, detector.encoder(picture[None])[2:], strict=True)]
        said = detector.net(None, inputs_embeds=levels[-1], encoder_outputs=detector.neck(levels))
    score, place = said.logits[0].sigmoid().max(dim=1)[0].max(dim=0)
    assert found["scores"][0] == pytest.approx(float(score))
    wanted = 64 * box_convert(said.pred_boxes[0, place], "cxcywh", "xyxy").clamp(0, 1)
    assert found["boxes"][0].tolist() == pytest.approx(wanted.tolist(), abs=1e-3)


def test_few_and_strong_detections_are_kept():
    torch.manual_seed(0)
    detector = builder("rt_detr")(3, CLASSES, **SMALL, max_detections=7)
    (found,) = look(detector, images((64, 64)))
    assert len(found["boxes"]) == 7
    detector.score_threshold = float(found["scores"][3])
    assert len(look(detector, images((64, 64)))[0]["boxes"]) == 4


@pytest.mark.parametrize(
    ("sizes", "boxes"),
    [
        ([(64, 64), (64, 64)], [[], []]),
        ([(64, 64), (64, 64)], [[[8, 8, 40, 40]], []]),
        ([(64, 64)], [[[8, 8, 9, 9], [63, 63, 64, 64], [5, 5, 5, 9]]]),
        ([(300, 1)], [[[0, 20, 1, 90]]]),
        ([(64, 64), (30, 90), (128, 40)], [[[4, 4, 28, 28]]] * 3),
        ([(64, 64)], [[[k % 40, k % 33, k % 40 + 9, k % 33 + 20] for k in range(500)]]),
    ],
    ids=["no objects", "one without", "one pixel", "narrow", "sizes", "500 objects"],
)
def test_it_learns_from_hard_inputs_after_looking_at_them(detector, sizes, boxes):
    look(detector, images(*sizes))
    learn(detector, images(*sizes), [target(one) for one in boxes])


def test_a_batch_without_objects_has_the_library_s_loss_of_classes(detector):
    """The library cannot match nothing; its loss of no match at all is what is wanted."""
    detector.train()
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # so that both see the same
    x = images((64, 64), (64, 64))
    ours = detector(x, [target([]), target([])])
    levels = [p(m) for p, m in zip(detector.projection, detector.encoder(torch.stack(x))[2:], strict=True)]
    said = detector.net(None, inputs_embeds=levels[-1], encoder_outputs=detector.neck(levels))
    loss, none = RTDetrLoss(detector.net.config), [(torch.zeros(0, dtype=torch.int64),) * 2] * 2
    empty = [{"boxes": torch.zeros(0, 4), "class_labels": torch.zeros(0, dtype=torch.int64)}] * 2
    layers = [*said.intermediate_logits.unbind(dim=1), said.enc_topk_logits]
    expected = sum(
        loss.loss_labels_vfl(
            {"logits": one, "pred_boxes": torch.rand(*one.shape[:2], 4)}, empty, none, num_boxes=1
        )["loss_vfl"]
        for one in layers
    )
    assert len(layers) == 3
    assert ours["loss_vfl"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert ours["loss_bbox"] == ours["loss_giou"] == 0


def test_bfloat16_keeps_boxes_exact(detector):
    with torch.autocast("cpu", torch.bfloat16):
        losses = learn(detector, images((64, 64)), [target([[8, 8, 40, 40]])])
        (found,) = look(detector, images((64, 64)))
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert found["boxes"].dtype == torch.float32


def test_features_pass_the_neck_at_the_start(detector):
    """The library's own start lets nothing through: it is meant to be overwritten."""
    found = detector.train().neck([p(m) for p, m in maps(detector)]).last_hidden_state
    assert all(level.std() > 0.05 for level in found)


def maps(detector):
    found = detector.encoder(torch.stack(images((64, 64), (64, 64))))[2:]
    return zip(detector.projection, found, strict=True)


def test_only_the_features_learn_at_the_rate_of_an_encoder(detector):
    from cv_pipelines.tasks.optimizers import in_encoder

    names = {name.split(".")[0] for name, _ in detector.named_parameters() if in_encoder(name)}
    assert names == {"encoder"}


def test_more_queries_than_places_are_refused():
    with pytest.raises(ValueError, match="an input of 64 pixels has 84 places"):
        builder("rt_detr")(3, CLASSES, **SMALL | {"queries": 85})


def test_without_the_library_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install 'cv_pipelines\[modern\]'"):
        builder("rt_detr")(3, CLASSES, **SMALL)
