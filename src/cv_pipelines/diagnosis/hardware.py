"""GPU, disk, shared memory."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from cv_pipelines.diagnosis.check import Check

LEAST_DISK, USUAL_DISK, USUAL_SHARED = 1e9, 20e9, 1e9
"""Bytes: without the first nothing can be trained; less than the others is noted."""

SHARED = Path("/dev/shm")


def gpu() -> Check:
    """Look for a GPU, and whether torch can use it."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        free, total = torch.cuda.mem_get_info()
        told = f"{', '.join(names)}; {free / 1e9:.1f} of {total / 1e9:.1f} GB free on the first"
        return Check("GPU", "ok", f"{told}; torch {torch.__version__}")
    seen = driver()
    if seen:
        told = f"the driver sees {seen}, torch {torch.__version__} (CUDA {torch.version.cuda}) does not"
        return Check("GPU", "warn", told, "install a driver for that CUDA, or a torch for the driver")
    return Check("GPU", "ok", f"none; torch {torch.__version__} trains on the CPU")


def driver() -> str | None:
    """Return the GPUs that NVIDIA's driver names; None if there is none."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return "; ".join(done.stdout.strip().splitlines()) or None


def disk(folder: Path) -> Check:
    """Look at what is free where the project's data are made."""
    there = next(path for path in [folder, *folder.parents] if path.exists())
    free = shutil.disk_usage(there).free
    told = f"{free / 1e9:.1f} GB free for {folder}"
    mend = "remove data/04_feature (caches) and old models, or let `data` point to another disk"
    if free < LEAST_DISK:
        return Check("disk", "missing", told, mend)
    return Check("disk", "warn", told, mend) if free < USUAL_DISK else Check("disk", "ok", told)


def shared_memory(folder: Path = SHARED) -> Check:
    """Look at the memory through which loader processes hand batches over."""
    if not folder.is_dir():
        return Check("shared memory", "ok", "not of this system")
    free = shutil.disk_usage(folder).free
    told = f"{free / 1e9:.1f} GB free in {folder}"
    if free < USUAL_SHARED:
        return Check("shared memory", "warn", told, "docker run --shm-size=8g, or train.workers: 0")
    return Check("shared memory", "ok", told)
