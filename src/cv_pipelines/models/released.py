"""torchvision's released detectors, with their weights from a file: to predict with or to fine-tune."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_weight
from torchvision.ops.misc import FrozenBatchNorm2d

from cv_pipelines.errors import ConfigError
from cv_pipelines.models.detector import Count, Detector, Share, check_channels

Architecture = Literal[
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
]

NORMS_EPS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": 1e-5,
    "fasterrcnn_mobilenet_v3_large_fpn": 1e-5,
    "fasterrcnn_resnet50_fpn": 0.0,
    "fcos_resnet50_fpn": 1e-5,
    "maskrcnn_resnet50_fpn": 0.0,
    "retinanet_resnet50_fpn": 0.0,
}
"""Whose released weights were trained with frozen batch norms, and what was added to their variances."""

COCO_OUTPUTS = 91
"""Of the released detectors: COCO's ids go up to 90, and 0 is the background or unused."""


def coco_numbers() -> list[int]:
    """Return COCO's ids of its 80 classes in order, as torchvision's released weights name them."""
    names = get_weight("FasterRCNN_ResNet50_FPN_Weights.COCO_V1").meta["categories"]
    return [number for number, name in enumerate(names) if name not in ("__background__", "N/A")]


def build(
    in_channels: int,
    n_classes: int,
    *,
    architecture: Architecture = "fasterrcnn_resnet50_fpn",
    weights: str = "none",
    classes: Literal["coco", "own"] = "own",
    min_size: Count | None = None,
    max_size: Count | None = None,
    score_threshold: Share = 0.05,
    max_detections: Count = 100,
) -> Detector:
    """Build the detector. Images have to be normalised as `packaged`; the rest is done here.

    Args:
        in_channels: must be 3.
        n_classes: object classes.
        architecture: torchvision's name of the detector; those whose weights were released with frozen batch
            norms have them here, whatever the start.
        weights: file with the released state dict, as torchvision's page on the detector offers it; `none`
            for a random start.
        classes: `coco` keeps the released outputs, for a source of COCO's 80 classes; `own` replaces the
            layers that tell classes apart, to be trained.
        min_size: shorter image side after the resize, in pixels; None leaves torchvision's (800), and SSDs
            always have their own size.
        max_size: limit of the longer side, in pixels; None leaves torchvision's (1333).
        score_threshold: detections below are dropped, 0 to 1.
        max_detections: kept an image.

    Raises:
        ValueError: the images are not RGB.
        ConfigError: `weights` is no such file or does not fit, or `classes: coco` on a source of others.
    """
    check_channels("torchvision_detector", in_channels)
    if classes == "coco" and n_classes != len(coco_numbers()):
        raise ConfigError(f"model.classes: 'coco' has 80 classes, the source {n_classes}; allowed is 'own'")
    background = not architecture.startswith(("fcos", "retinanet"))
    outputs = COCO_OUTPUTS if classes == "coco" else n_classes + background
    net = _net(architecture, outputs, {"min_size": min_size, "max_size": max_size})
    if weights != "none":
        _load(net, Path(weights), outputs)
    _limit(net, score_threshold, max_detections)
    numbers = coco_numbers() if classes == "coco" else range(int(background), n_classes + background)
    regions = hasattr(net, "roi_heads")
    masks = architecture.startswith("maskrcnn")
    heads = ["rpn.head", "roi_heads.box_predictor"] if regions else ["head"]
    return Detector(net, heads + ["roi_heads.mask_predictor"] * masks, numbers, masks)


def _net(architecture: str, outputs: int, sizes: Mapping[str, int | None]) -> Any:
    given = {key: size for key, size in sizes.items() if size and not architecture.startswith("ssd")}
    net: Any = get_model(architecture, weights=None, weights_backbone=None, num_classes=outputs, **given)
    if architecture in NORMS_EPS:
        net.backbone = _frozen(net.backbone, NORMS_EPS[architecture])
    # From images normalised as `packaged`, (255 u - 127) / 128, to (u - mean) / std.
    net.transform.image_mean = [(255 * mean - 127) / 128 for mean in net.transform.image_mean]
    net.transform.image_std = [255 * std / 128 for std in net.transform.image_std]
    return net


def _frozen(module: nn.Module, eps: float) -> nn.Module:
    """Put frozen batch norms in the place of a module's batch norms."""
    if isinstance(module, nn.BatchNorm2d):
        return FrozenBatchNorm2d(module.num_features, eps)
    for name, child in module.named_children():
        setattr(module, name, _frozen(child, eps))
    return module


def _load(net: nn.Module, path: Path, outputs: int) -> None:
    """Load a released state dict; with other outputs than it has, all but the layers whose shapes differ."""
    if not path.is_file():
        raise ConfigError(f"model.weights: {path}: no such file; get the state dict from torchvision's page")
    saved: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    shapes = {name: tensor.shape for name, tensor in net.state_dict().items()}
    if outputs != COCO_OUTPUTS:
        saved = {name: t for name, t in saved.items() if t.shape == shapes.get(name, t.shape)}
    missing, unexpected = net.load_state_dict(saved, strict=False)
    if unexpected or (missing and outputs == COCO_OUTPUTS):
        wrong = [*unexpected, *missing][:3]
        raise ConfigError(f"model.weights: {path}: not of this architecture; {', '.join(wrong)} do not fit")


def _limit(net: Any, score_threshold: float, max_detections: int) -> None:
    last = getattr(net, "roi_heads", net)
    last.score_thresh, last.detections_per_img = score_threshold, max_detections
