"""What torchvision's detectors share here: one contract around them, one feature pyramid, one anchor rule."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes, resize_keypoints
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from cv_pipelines.models.efficientnet import Weights, encoder

Count = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[float, Field(gt=0)]
Ratios = Annotated[Sequence[Size], Field(min_length=1)]
STRIDES = (2, 4, 8, 16, 32)
"""Of the encoder's maps."""

NORMALISED: dict[str, Any] = {"image_mean": [0.0, 0.0, 0.0], "image_std": [1.0, 1.0, 1.0]}
"""What torchvision is to subtract and divide by: images come normalised."""


class PyramidBackbone(nn.Module):
    """EfficientNet-Lite0 and a feature pyramid (Lin et al. 2017); maps are named by level.

    Args:
        weights: of the encoder.
        first_stride: of the finest map: 2, 4, 8 or 16; the coarsest has 32.
        out_channels: of every map.
        extra: makes coarser maps yet.
    """

    def __init__(
        self, weights: Weights, first_stride: int, out_channels: int, extra: ExtraFPNBlock | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder(weights)
        self.first = STRIDES.index(first_stride)
        widths: list[int] = self.encoder.feature_info.channels()[self.first :]  # type: ignore[union-attr,operator]
        self.fpn = FeaturePyramidNetwork(widths, out_channels, extra)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Map (B, 3, H, W) to the pyramid's maps, finest first."""
        maps = self.encoder(x)[self.first :]
        pyramid: OrderedDict[str, Tensor] = self.fpn(OrderedDict((str(i), m) for i, m in enumerate(maps)))
        return pyramid


class Resize(GeneralizedRCNNTransform):
    """torchvision's resize and batching, for the most elongated images too: a side keeps at least a pixel."""

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Resize an image (C, H, W) and its target, as torchvision does wherever that gives pixels."""
        height, width = image.shape[-2:]
        scale = min(self.min_size[-1] / min(height, width), self.max_size / max(height, width))
        if self.fixed_size is not None or scale * min(height, width) >= 1:
            resized: tuple[Tensor, dict[str, Tensor] | None] = super().resize(image, target)
            return resized
        size = [max(int(height * scale), 1), max(int(width * scale), 1)]
        image = functional.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]
        if target is not None:
            target = target | {"boxes": resize_boxes(target["boxes"], [height, width], size)}
            if "keypoints" in target:
                target["keypoints"] = resize_keypoints(target["keypoints"], [height, width], size)
            if "masks" in target:
                target["masks"] = functional.interpolate(target["masks"][:, None].float(), size)[:, 0].byte()
        return image, target


class Detector(nn.Module):
    """A torchvision detector under the contract of this project's detection task.

    Classes count from 0 without a background and without gaps, however `net` numbers them. What comes out of
    the backbone and the heads is float32 under autocast too: in bfloat16 the corner of an anchor 500 pixels
    from the edge is known to 2 pixels.

    Args:
        net: a detector of `torchvision.models.detection`.
        heads: names of those of its modules whose outputs are decoded to scores, boxes and masks.
        numbers: what `net` calls each class; usually from 0, or from 1 where 0 is the background.
        masks: `net` learns masks, too.
        keypoints: how many points of each object `net` learns, too.
    """

    numbers: Tensor
    indices: Tensor

    def __init__(
        self,
        net: nn.Module,
        heads: Sequence[str],
        numbers: Sequence[int],
        masks: bool = False,
        keypoints: int = 0,
    ) -> None:
        super().__init__()
        plain: Any = net.transform
        net.transform = Resize(
            plain.min_size,
            plain.max_size,
            plain.image_mean,
            plain.image_std,
            size_divisible=plain.size_divisible,
            fixed_size=plain.fixed_size,
        )
        self.net = net
        self.masks, self.keypoints = masks, keypoints
        indices = torch.full((max(numbers) + 1,), -1)
        indices[list(numbers)] = torch.arange(len(numbers))
        self.register_buffer("numbers", torch.tensor(numbers), persistent=False)
        self.register_buffer("indices", indices, persistent=False)
        for name in ("backbone", *heads):
            net.get_submodule(name).register_forward_hook(_in_float32)

    def forward(
        self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """In training, map images and targets to losses; else images to detections.

        Args:
            images: (3, H, W) float each, normalised; sizes may differ.
            targets: a dict an image with `boxes` (N, 4) XYXY in pixels and `labels` (N,) int64; where masks
                are learned, `masks` (N, H, W) uint8 too; where keypoints are, `keypoints` (N, P, 3) float32:
                x, y in pixels, and above 0 where the point is known.

        Returns:
            Losses by name, or a dict an image with `boxes` (K, 4) in its own pixels, `labels`, `scores`, 0 to
            1, strongest first; where masks are learned, `masks` (K, 1, H, W), 0 to 1; where keypoints are,
            `keypoints` (K, P, 3), whose third number is 1.
        """
        if targets is not None:
            targets = [target | {"labels": self.numbers[target["labels"]]} for target in targets]
        found: Any = self.net(images, targets)
        if self.training:
            losses: dict[str, Tensor] = found
            return losses
        return [self._known(one | {"labels": self.indices[one["labels"]]}) for one in found]

    @staticmethod
    def _known(found: dict[str, Tensor]) -> dict[str, Tensor]:
        """Drop what is of no class of ours: released detectors have outputs for numbers that none has."""
        kept = found["labels"] >= 0
        return found if kept.all() else {name: value[kept] for name, value in found.items()}


class PyramidDetector(Detector):
    """A torchvision detector that finds everything in one pass over the levels of a pyramid.

    Args:
        net: `FCOS` or `RetinaNet` of `torchvision.models.detection`, without gaps among its classes.
        n_classes: that it knows.
        strides: of its levels, the finest first, in pixels.
        anchors: boxes at each place of a level.
    """

    def __init__(self, net: nn.Module, n_classes: int, strides: Sequence[int], anchors: int) -> None:
        super().__init__(net, heads=["head"], numbers=range(n_classes))
        self.strides, self.anchors = list(strides), anchors

    def dense(self, x: Tensor) -> Tensor:
        """Return what is found at every place of every level, before any choice among overlapping boxes.

        Args:
            x: (B, 3, H, W) normalised, resized as `rule` says; sides divisible by 32.

        Returns:
            (B, boxes, 4 + classes): distances of the place to the left, upper, right and lower side of a box,
            in strides of its level; then the score of each class, 0 to 1.
        """
        raise NotImplementedError

    def rule(self) -> dict[str, Any]:
        """Say how images are resized, and how boxes are chosen from what `dense` returns."""
        net: Any = self.net
        return {
            "shorter_side": net.transform.min_size[-1],
            "longer_side": net.transform.max_size,
            "strides": self.strides,
            "anchors": self.anchors,
            "score_threshold": net.score_thresh,
            "candidates": net.topk_candidates,
            "overlap": net.nms_thresh,
            "most": net.detections_per_img,
        }


def _in_float32(module: nn.Module, inputs: Any, output: Any) -> Any:
    """Give what a module gives in float32: a hook that runs after it."""
    del module, inputs
    return _float32(output)


def _float32(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float()
    if isinstance(value, dict):
        return type(value)((name, tensor.float()) for name, tensor in value.items())
    return type(value)(_float32(part) for part in value)


def pyramid_anchors(
    first_stride: int, levels: int, scale: float, octaves: int, ratios: Sequence[float]
) -> AnchorGenerator:
    """Make the anchors of a pyramid: at each level, sides of `scale` strides, in all aspect ratios.

    Args:
        first_stride: of the finest level.
        levels: how many; each has twice the stride of the one before.
        scale: side of the smallest anchor of a level, in its strides.
        octaves: sizes a level, 2^(1 / octaves) apart (Lin et al. 2017b §4).
        ratios: height over width.
    """
    strides = [first_stride * 2**level for level in range(levels)]
    sizes = tuple(
        tuple(round(stride * scale * 2 ** (k / octaves)) for k in range(octaves)) for stride in strides
    )
    return AnchorGenerator(sizes, (tuple(ratios),) * levels)


def check_channels(name: str, in_channels: int) -> None:
    """Check that images are what the packaged encoder reads.

    Raises:
        ValueError: the images are not RGB.
    """
    if in_channels != 3:
        raise ValueError(f"{name} reads RGB images; the source gives {in_channels} channels")
