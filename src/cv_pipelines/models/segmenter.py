"""Decoders of segmentation-models-pytorch on the packaged EfficientNet-Lite0 encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import segmentation_models_pytorch as smp
from torch import nn

from cv_pipelines.models.efficientnet import Weights, load_packaged, wrap_slow_convs


def build(
    in_channels: int,
    n_classes: int,
    *,
    decoder: Literal["unet", "fpn", "deeplab_v3_plus"] = "unet",
    decoder_channels: Sequence[int] = (128, 64, 48, 32, 16),
    weights: Weights = "packaged",
) -> nn.Module:
    """Build the network: (B, 3, H, W) to (B, n_classes, H, W) logits; H, W divisible by 32.

    Args:
        in_channels: must be 3.
        n_classes: classes of a pixel.
        decoder: `unet` (Ronneberger et al. 2015), `fpn` (Kirillov et al. 2019), `deeplab_v3_plus`
            (Chen et al. 2018).
        decoder_channels: width of each U-Net level, from the coarsest; the others have their own.
        weights: `packaged` for ImageNet's encoder, `none` for a random start.

    Raises:
        ValueError: the images are not RGB.
    """
    if in_channels != 3:
        raise ValueError(f"pretrained_segmenter reads RGB images; the source gives {in_channels} channels")
    common: dict[str, Any] = {
        "encoder_name": "tu-tf_efficientnet_lite0",
        "encoder_weights": None,
        "classes": n_classes,
    }
    makers = {"fpn": smp.FPN, "deeplab_v3_plus": smp.DeepLabV3Plus}
    model: nn.Module = (
        smp.Unet(decoder_channels=tuple(decoder_channels), **common)
        if decoder == "unet"
        else makers[decoder](**common)
    )
    if weights == "packaged":
        load_packaged(model.encoder.model)  # type: ignore[union-attr,arg-type]
    wrap_slow_convs(model.encoder)  # type: ignore[arg-type]
    return model
