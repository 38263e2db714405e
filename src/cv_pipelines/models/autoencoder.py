"""A convolutional autoencoder whose encoder is that of the residual CNN, so it can start a classifier."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cv_pipelines.models.normalisation import Norm, norm_layer
from cv_pipelines.models.residual import ResidualEncoder


class ConvAutoencoder(nn.Module):
    """Residual encoder, a narrow code at the coarsest resolution, an upsampling decoder.

    The decoder is kept weak (one convolution a resolution), so that what is learnt is learnt by the encoder.
    """

    def __init__(self, in_channels: int, channels: Sequence[int], blocks: int, code: int, norm: Norm) -> None:
        super().__init__()
        self.encoder = ResidualEncoder(in_channels, channels, [blocks] * len(channels), norm)
        self.code = nn.Conv2d(channels[-1], code, 1)
        layers: list[nn.Module] = [nn.Conv2d(code, channels[-1], 1), nn.ReLU(inplace=True)]
        for wide, narrow in zip(channels[::-1], channels[-2::-1], strict=False):
            layers += [
                nn.Upsample(scale_factor=2, mode="bilinear"),
                nn.Conv2d(wide, narrow, 3, padding=1, bias=norm == "none"),
                norm_layer(norm, narrow),
                nn.ReLU(inplace=True),
            ]
        self.decoder = nn.Sequential(*layers, nn.Conv2d(channels[0], in_channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to a reconstruction of the same shape; H, W divisible by 2^(stages - 1)."""
        reconstruction: Tensor = self.decoder(self.code(self.encoder(x)))
        return reconstruction


def build(
    in_channels: int,
    n_outputs: int,
    *,
    channels: Sequence[int] = (32, 64, 128),
    blocks: int = 2,
    code: int = 16,
    norm: Norm = "batch",
) -> ConvAutoencoder:
    """Build the network.

    Args:
        in_channels: image channels, in and out.
        n_outputs: not used; every builder takes it.
        channels: width of each encoder stage.
        blocks: residual blocks a stage.
        code: channels of the code.
        norm: after each 3×3 convolution: `batch`, `group` or `none`.
    """
    del n_outputs
    return ConvAutoencoder(in_channels, channels, blocks, code, norm)
