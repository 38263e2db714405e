"""What all models have in common as they are exported: raw values in, what the task says of them out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor, nn
from torch.export import Dim

from cv_pipelines.inference.model import Trained
from cv_pipelines.inference.traceable import make_traceable

LARGEST_SIDE = 8192
DynamicShape = dict[int, Any]


class Graph(nn.Module):
    """One task's graph; what `evaluate` averages over (mirror image, sizes) is in it.

    Args:
        trained: the model, on the CPU; where sides have to be divided, it takes no others afterwards.

    Attributes:
        output: name of what comes out.
        meaning: what that is.
        class_list: which classes it is of.
        multiple: what the sides of an image must be divisible by, where any size will do.
        strict: trace by reading Python's bytecode, which takes longer, but leaves `len` of a batch open.
    """

    output: ClassVar[str] = "probabilities"
    meaning: ClassVar[str]
    class_list: ClassVar[Literal["labels", "mask", "objects"] | None] = "labels"
    multiple: ClassVar[int] = 1
    strict: ClassVar[bool] = False

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.task = trained.task
        self.trained = [trained]  # in a list, so that it is no part of the graph
        make_traceable(self.task.model, divisible=self.multiple > 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) uint8 images or (B, C, T) float32 windows to what the task says."""
        raise NotImplementedError

    def fitted(self, sample: np.ndarray) -> np.ndarray:
        """Repeat the last row and column of an image until its sides can be divided as the graph needs it."""
        if self.multiple == 1 or self.trained[0].size:
            return sample
        height, width = sample.shape[1:]
        filled = ((0, 0), (0, -height % self.multiple), (0, -width % self.multiple))
        return np.pad(sample, filled, mode="edge")

    def rows(self, samples: Sequence[dict[str, Any]], outputs: Tensor) -> Iterable[dict[str, Any]]:
        """Return rows of the prediction table.

        Args:
            samples: `sample_id`, `height` and `width` of each.
            outputs: what came out for them.
        """
        raise NotImplementedError

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the output."""
        return self.trained[0].meta.categories.names(self.class_list) if self.class_list else []

    def dynamic_shapes(self) -> list[DynamicShape]:
        """Return which axes may vary, the widest wish first; the number of samples always does."""
        trained, batch = self.trained[0], {0: Dim("batch", max=4096)}
        if trained.kind == "signal" or trained.size:
            return [batch]
        sides = [Dim(name, min=1, max=LARGEST_SIDE // self.multiple) for name in ("height", "width")]
        free = {axis: self.multiple * side for axis, side in zip((2, 3), sides, strict=True)}
        return [batch | free, batch]

    def contract(self) -> dict[str, Any]:
        """State what goes in and what comes out."""
        trained = self.trained[0]
        preprocessing = trained.meta.preprocessing
        if trained.kind == "signal":
            given: dict[str, Any] = {
                "dtype": "float32",
                "layout": "batch, channels, time",
                "values": "as measured",
            }
            given |= {"shape": list(trained.window)}
        else:
            colors = "RGB" if trained.channels == 3 else "grey"
            given = {
                "dtype": "uint8",
                "layout": "batch, channels, height, width",
                "values": f"{colors}, 0..255",
            }
            given |= {"size": trained.size, "sides_divisible_by": self.multiple}
            given |= {"resize": "bilinear with antialiasing, as Pillow's; before the graph"}
        inside = {"mean": preprocessing.mean, "std": preprocessing.std}
        evaluate = trained.config.evaluate
        return {
            "experiment": trained.name,
            "task": trained.task_name,
            "fingerprint": trained.meta.fingerprint,
            "input": {"name": trained.kind, **given},
            "inside": {"normalisation": inside, "flip": evaluate.flip, "scales": evaluate.scales},
            "output": {"name": self.output, "dtype": "float32", "meaning": self.meaning},
            "classes": self.classes,
        }
