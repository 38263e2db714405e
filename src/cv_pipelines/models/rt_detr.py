"""RT-DETR (Zhao et al. 2023, arXiv 2304.08069): the transformers library's, on EfficientNet-Lite0.

A detector without anchors and without a choice among overlapping boxes: so many queries, each of which is
matched with one object or none (Hungarian matching), as in DETR (Carion et al. 2020), at the speed of a YOLO.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_convert

from cv_pipelines.errors import ConfigError
from cv_pipelines.models.detector import STRIDES, Count, Share, check_channels
from cv_pipelines.models.efficientnet import Weights, encoder
from cv_pipelines.models.yolo.letterbox import Frame, Resize, in_squares

FIRST = STRIDES.index(8)
"""The first of the encoder's maps that is used; the paper takes those of strides 8, 16 and 32."""

LOSSES = ("loss_vfl", "loss_bbox", "loss_giou")
"""Classes (varifocal), boxes by L1 and by generalised IoU; each layer of the decoder adds to each."""

PRIOR = 0.01
"""Probability of every class that training starts from."""


class RtDetr(nn.Module):
    """RT-DETR under the contract of this project's detection task.

    Only the encoder computes in reduced precision under autocast: coordinates have no digits left in it.

    Args:
        net: the transformers library's model; its backbone and hybrid encoder are not used from there.
        features: gives maps of stride 2, 4, 8, 16, 32.
        size: side of the square that images are brought to, in pixels.
        resize: how.
        score_threshold: detections below are dropped, 0 to 1.
        max_detections: kept an image.
    """

    def __init__(
        self,
        net: Any,
        features: nn.Module,
        size: int,
        resize: Resize,
        score_threshold: float,
        max_detections: int,
    ) -> None:
        super().__init__()
        # `encoder` names pretrained layers, which may learn at another rate; RT-DETR calls its neck so.
        self.encoder, self.projection, self.neck = features, net.model.encoder_input_proj, net.model.encoder
        net.model.backbone = net.model.encoder_input_proj = net.model.encoder = None
        self.net = net
        self.size, self.resize = size, resize
        self.score_threshold, self.max_detections = score_threshold, max_detections

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """In training, map images and targets to losses; else images to detections.

        Args:
            images: (3, H, W) float each, normalised; sizes may differ.
            targets: a dict an image with `boxes` (N, 4) XYXY in its own pixels and `labels` (N,) int64.

        Returns:
            Losses by name, or a dict an image with `boxes` (K, 4) in its own pixels, `labels`, `scores`, 0 to
            1, strongest first.

        Raises:
            ValueError: training without targets.
        """
        if self.training and targets is None:
            raise ValueError("a detector needs targets in training; expected a dict an image")
        x, frames = in_squares(images, self.size, self.resize)
        maps = self.encoder(x)[FIRST:]
        with torch.autocast(x.device.type, enabled=False):
            labels = self._labels(targets, frames) if self.training and targets else None
            given = labels if labels and any(len(one["boxes"]) for one in labels) else None
            found = self._decoded(maps, given)
            if not self.training:
                said = (found.logits, found.pred_boxes, frames)
                return [self._detections(*one) for one in zip(*said, strict=True)]
            if given is None:
                return self._background(found)
            return {
                name: torch.stack([v for key, v in found.loss_dict.items() if key.startswith(name)]).sum()
                for name in LOSSES
            }

    def dense(self, x: Tensor) -> Tensor:
        """Return what each query finds.

        Args:
            x: (B, 3, size, size), normalised.

        Returns:
            (B, queries, 4 + classes): boxes XYXY as shares of the side; then the score of each class, 0 to 1.
        """
        found = self._decoded(self.encoder(x)[FIRST:])
        corners = box_convert(found.pred_boxes, "cxcywh", "xyxy")
        return torch.cat([corners, found.logits.sigmoid()], dim=2)

    def rule(self) -> dict[str, Any]:
        """Say how boxes are chosen from what `dense` returns: the best pairs, however much they overlap."""
        most = self.max_detections
        return {"score_threshold": self.score_threshold, "candidates": most, "overlap": 1.0, "most": most}

    def _decoded(self, maps: Sequence[Tensor], labels: list[dict[str, Tensor]] | None = None) -> Any:
        """Return what the library's model says of the encoder's maps."""
        levels = [one(found.float()) for one, found in zip(self.projection, maps, strict=True)]
        return self.net(None, inputs_embeds=levels[-1], encoder_outputs=self.neck(levels), labels=labels)

    def _labels(self, targets: Sequence[dict[str, Tensor]], frames: list[Frame]) -> list[dict[str, Tensor]]:
        """Give targets as RT-DETR wants them: centre and size as shares of the square; none without area."""
        labels = []
        for target, frame in zip(targets, frames, strict=True):
            boxes = frame.to_square(target["boxes"].float()) / self.size
            some = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
            centred = box_convert(boxes[some], "xyxy", "cxcywh")
            labels.append({"boxes": centred, "class_labels": target["labels"][some]})
        return labels

    def _background(self, found: Any) -> dict[str, Tensor]:
        """Return the losses of a batch without an object, which the library's matching cannot do.

        No query is to find anything: what is left of the varifocal loss (Zhang et al. 2021, eq. 2).
        """
        config, nothing = self.net.config, 0.0 * found.pred_boxes.sum()
        layers = [*found.intermediate_logits.unbind(dim=1), found.enc_topk_logits]
        logits = torch.cat([layer.flatten() for layer in layers])
        weight = config.focal_loss_alpha * logits.detach().sigmoid() ** config.focal_loss_gamma
        classes = config.weight_loss_vfl * (weight * F.softplus(logits)).sum()
        return dict(zip(LOSSES, (classes, nothing, nothing), strict=True))

    def _detections(self, logits: Tensor, boxes: Tensor, frame: Frame) -> dict[str, Tensor]:
        """Take the best pairs of a query and a class, (Q, C) logits and (Q, 4) boxes."""
        scores = logits.sigmoid().flatten()
        scores, which = scores.topk(min(self.max_detections, len(scores)))
        strong = scores >= self.score_threshold
        which, n_classes = which[strong], logits.shape[1]
        corners = box_convert(boxes[which // n_classes], "cxcywh", "xyxy") * self.size
        return {"boxes": frame.to_image(corners), "labels": which % n_classes, "scores": scores[strong]}


def build(
    in_channels: int,
    n_classes: int,
    *,
    weights: Weights = "packaged",
    size: Annotated[int, Field(gt=0, multiple_of=32)] = 640,
    resize: Resize = "stretch",
    width: Annotated[int, Field(gt=0, multiple_of=32)] = 256,
    hidden: Count = 1024,
    queries: Count = 300,
    decoder_layers: Count = 3,
    denoising: Annotated[int, Field(ge=0)] = 100,
    score_threshold: Share = 0.05,
    max_detections: Count = 100,
) -> RtDetr:
    """Build the detector. It needs the extra `modern`.

    Args:
        in_channels: must be 3.
        n_classes: object classes.
        weights: `packaged` for ImageNet's encoder, `none` for a random start.
        size: side of the square that images are brought to, in pixels.
        resize: `stretch`, as the paper does, or `letterbox`, which keeps the ratio of the sides.
        width: channels of neck and decoder, for 8 heads.
        hidden: width of the feed-forward layers.
        queries: so many objects an image can be found; of that many places the network must have.
        decoder_layers: of the decoder; the paper has 6, with a smaller backbone 3.
        denoising: queries that learn to clean disturbed boxes while training (Zhang et al. 2022, DINO).
        score_threshold: detections below are dropped, 0 to 1.
        max_detections: kept an image.

    Raises:
        ValueError: the images are not RGB, or there are more queries than places.
        ConfigError: the transformers library is not installed.
    """
    check_channels("rt_detr", in_channels)
    places = sum((size // stride) ** 2 for stride in STRIDES[FIRST:])
    if queries > places:
        raise ValueError(f"queries: {queries}; an input of {size} pixels has {places} places")
    library, features = _library(), encoder(weights)
    channels: list[int] = features.feature_info.channels()[FIRST:]  # type: ignore[union-attr,operator]
    # The library builds a backbone of its own, with maps of these channels; a small one, as it is not kept.
    stand_in = library.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, *channels],
        depths=[1] * 4,
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = library.RTDetrConfig(
        backbone_config=stand_in,
        num_labels=n_classes,
        encoder_hidden_dim=width,
        encoder_in_channels=channels,
        encoder_ffn_dim=hidden,
        d_model=width,
        decoder_in_channels=[width] * len(channels),
        decoder_ffn_dim=hidden,
        decoder_layers=decoder_layers,
        num_queries=queries,
        num_denoising=denoising,
        initializer_bias_prior_prob=PRIOR,
    )
    net = library.RTDetrForObjectDetection(config)
    _start(net)
    return RtDetr(net, features, size, resize, score_threshold, max_detections)


def _library() -> ModuleType:
    try:
        import transformers
    except ImportError:
        raise ConfigError(
            "model.name: 'rt_detr' needs the transformers library: pip install 'cv_pipelines[modern]'"
        ) from None
    return transformers


def _start(net: Any) -> None:
    """Start layers as PyTorch does, and heads at no shift: the library's start is meant to be overwritten.

    It draws the factors of batch norms from around 0, which lets nothing through. Sampling points and the
    prior of the classes stay as it sets them.
    """
    kept = {"encoder_attn", "class_embed", "enc_score_head"}
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear) and not kept & set(name.split(".")):
            module.reset_parameters()
    for head in (*net.model.decoder.bbox_embed, net.model.enc_bbox_head):
        nn.init.zeros_(head.layers[-1].weight)
        nn.init.zeros_(head.layers[-1].bias)
