"""Plain `nn.Module` models. A builder takes what the data dictates by position and its options by keyword.

The values are `module:function`, imported when they are first used.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from torch import nn

MODELS = {
    "conv_autoencoder": "cv_pipelines.models.autoencoder:build",
    "dcgan": "cv_pipelines.models.dcgan:build",
    "efficientnet_lite0": "cv_pipelines.models.efficientnet:build",
    "fast_rcnn": "cv_pipelines.models.regions.fast_rcnn:build",
    "faster_rcnn": "cv_pipelines.models.faster_rcnn:build",
    "fcos": "cv_pipelines.models.fcos:build",
    "inception_1d": "cv_pipelines.models.inception:build",
    "keypoint_rcnn": "cv_pipelines.models.keypoint_rcnn:build",
    "landmark_net": "cv_pipelines.models.landmark_net:build",
    "localizer": "cv_pipelines.models.localizer:build",
    "mask_rcnn": "cv_pipelines.models.mask_rcnn:build",
    "pretrained_segmenter": "cv_pipelines.models.segmenter:build",
    "rcnn": "cv_pipelines.models.regions.rcnn:build",
    "residual_cnn": "cv_pipelines.models.residual:build",
    "retinanet": "cv_pipelines.models.retinanet:build",
    "rt_detr": "cv_pipelines.models.rt_detr:build",
    "sliding_window": "cv_pipelines.models.sliding.model:build",
    "ssd": "cv_pipelines.models.ssd:build",
    "torchvision_detector": "cv_pipelines.models.released:build",
    "unet": "cv_pipelines.models.unet:build",
    "yolo_v1": "cv_pipelines.models.yolo.v1:build",
    "yolo_v3_tiny": "cv_pipelines.models.yolo.v3_tiny:build",
    "yolo_v5": "cv_pipelines.models.yolo.v5:build",
}


def builder(name: str) -> Callable[..., nn.Module]:
    """Return the builder of a registered model: `build(in_channels, n_outputs, *, options)`.

    Raises:
        KeyError: no model of that name; the message lists those there are.
    """
    if name not in MODELS:
        raise KeyError(f"no model {name!r}; there are {', '.join(sorted(MODELS))}")
    module, function = MODELS[name].split(":")
    build: Callable[..., nn.Module] = getattr(import_module(module), function)
    return build
