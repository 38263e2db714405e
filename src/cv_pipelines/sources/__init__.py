"""Readers, a module an on-disk format: `read(root, …) -> Tables` and `write_sample(root, …) -> Truth`.

The values are module names, imported when they are first used, so that listing pipelines stays fast.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

READERS = {
    "camvid": "cv_pipelines.sources.camvid",
    "coco": "cv_pipelines.sources.coco",
    "digits": "cv_pipelines.sources.digits",
    "hapt": "cv_pipelines.sources.hapt",
    "idx": "cv_pipelines.sources.idx",
    "image_folder": "cv_pipelines.sources.image_folder",
    "imagenet": "cv_pipelines.sources.imagenet",
    "orl_faces": "cv_pipelines.sources.orl_faces",
    "oxford_pets": "cv_pipelines.sources.oxford_pets",
    "uci_har": "cv_pipelines.sources.uci_har",
    "voc": "cv_pipelines.sources.voc",
}


def reader(name: str) -> ModuleType:
    """Return the module of a registered reader.

    Raises:
        KeyError: no reader of that name; the message lists those there are.
    """
    if name not in READERS:
        raise KeyError(f"no reader {name!r}; there are {', '.join(sorted(READERS))}")
    return import_module(READERS[name])
