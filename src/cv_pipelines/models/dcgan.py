"""DCGAN (Radford et al. 2016): a generator of transposed convolutions against a strided discriminator."""

from __future__ import annotations

from torch import Tensor, nn


class Generator(nn.Module):
    """Noise to images in -1..1, doubling from 4×4 to `size`."""

    def __init__(self, out_channels: int, latent: int, width: int, size: int) -> None:
        super().__init__()
        doublings = (size // 4).bit_length() - 1
        top = width * 2 ** max(doublings - 1, 0)
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent, top, 4, bias=False),
            nn.BatchNorm2d(top),
            nn.ReLU(inplace=True),
        ]
        for step in range(doublings):
            last = step == doublings - 1
            narrow = out_channels if last else top // 2
            layers.append(nn.ConvTranspose2d(top, narrow, 4, 2, 1, bias=last))
            layers += [] if last else [nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)]
            top = narrow
        self.net = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, latent) to (B, C, size, size)."""
        images: Tensor = self.net(z[:, :, None, None])
        return images


class Discriminator(nn.Sequential):
    """Images to one logit each; (B, C, size, size) to (B, 1)."""

    def __init__(self, in_channels: int, width: int, size: int, dropout: float) -> None:
        layers: list[nn.Module] = []
        halvings = (size // 4).bit_length() - 1
        for step in range(halvings):
            layers.append(nn.Conv2d(in_channels, width, 4, 2, 1, bias=False))
            layers += [nn.BatchNorm2d(width)] if step else []  # not on the input layer (§3 of the paper)
            layers += [nn.LeakyReLU(0.2, inplace=True), nn.Dropout2d(dropout)]
            in_channels, width = width, width * 2
        super().__init__(*layers, nn.Conv2d(in_channels, 1, 4), nn.Flatten())


class Dcgan(nn.Module):
    """Both players, initialised from N(0, 0.02) as the paper does."""

    def __init__(self, channels: int, latent: int, width: int, size: int, dropout: float) -> None:
        super().__init__()
        self.latent = latent
        self.generator = Generator(channels, latent, width, size)
        self.discriminator = Discriminator(channels, width, size, dropout)
        self.apply(_initialise)

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, latent) noise to (B, C, size, size) images in -1..1."""
        images: Tensor = self.generator(z)
        return images


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def build(
    in_channels: int,
    n_outputs: int,
    *,
    size: int = 32,
    latent: int = 64,
    width: int = 32,
    dropout: float = 0.0,
) -> Dcgan:
    """Build both players.

    Args:
        in_channels: image channels.
        n_outputs: not used; every builder takes it.
        size: image side in pixels, 4 times a power of two.
        latent: length of the noise vector.
        width: channels of the finest layer; doubled with each halving.
        dropout: of discriminator features, 0 to 1.

    Raises:
        ValueError: `size` is not 4 times a power of two.
    """
    del n_outputs
    if size < 8 or size & (size - 1):
        raise ValueError(f"size {size}: expected 8, 16, 32, …")
    return Dcgan(in_channels, latent, width, size, dropout)
