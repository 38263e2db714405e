"""Phone recordings to windows: our HAPT reader against the plain numpy and scipy script.

The script is what one writes from the data set's README: `numpy.loadtxt` for each file, a median filter and
Butterworth filters axis by axis, a slice a window. One of its kind stops at the array; the other writes UCI
HAR's nine text files, which programs for that data set start from. Both read the unpacked tree: the real one
if `CV_PIPELINES_RAW` holds `hapt/`, else drawn recordings of 30 people.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from _harness import Row, in_turns, report

FOLDER = "HAPT Data Set"


def prepare(folder: Path) -> None:
    """Unpack the real recordings, or draw some."""
    from cv_pipelines.sources import hapt

    real = Path(os.environ.get("CV_PIPELINES_RAW", "nowhere")) / "hapt" / f"{FOLDER}.tar.xz"
    if real.is_file():
        with tarfile.open(real) as archive:
            archive.extractall(folder, filter="data")
    else:
        hapt.write_sample(folder, n=30)


def ours(root: Path) -> int:
    """Read the tree into our tables; returns the number of windows."""
    from cv_pipelines.config import Engine, SourceConfig
    from cv_pipelines.sources.ingest import read_tables

    config = SourceConfig(reader="hapt", engine=Engine(workers=1))
    return len(read_tables(config, root).samples)


def script_to_text(root: Path) -> int:
    """Cut the windows as a script does and write UCI HAR's text files; returns their number."""
    windows = cut(root)
    for channel in range(windows.shape[1]):
        with tempfile.TemporaryFile("w") as file:
            for window in windows[:, channel]:
                file.write("".join(f"{value:16.7e}" for value in window) + "\n")
    return len(windows)


def script(root: Path) -> int:
    """Cut the windows as a script does; returns their number."""
    return len(cut(root))


def cut(root: Path) -> np.ndarray:
    """Return the windows, (N, 9, 128)."""
    from scipy import signal

    folder = root / FOLDER
    noise, gravity = signal.butter(3, 20 / 25), signal.butter(3, 0.3 / 25)

    def clean(name: str) -> np.ndarray:
        """Read and filter one file, axis by axis."""
        raw = np.loadtxt(folder / "RawData" / name)
        return np.stack([signal.filtfilt(*noise, signal.medfilt(column, 3)) for column in raw.T], axis=1)

    windows: list[np.ndarray] = []
    recordings: dict[tuple[int, int], np.ndarray] = {}
    for experiment, user, activity, first, last in np.loadtxt(folder / "RawData/labels.txt", dtype=int):
        if activity > 6:
            continue
        if (experiment, user) not in recordings:
            stem = f"exp{experiment:02d}_user{user:02d}.txt"
            total, gyro = clean(f"acc_{stem}"), clean(f"gyro_{stem}")
            still = np.stack([signal.filtfilt(*gravity, column) for column in total.T], axis=1)
            recordings[experiment, user] = np.concatenate([total - still, gyro, total], axis=1)
        whole = recordings[experiment, user]
        windows += [whole[start : start + 128].T for start in range(first - 1, last - 127, 64)]
    return np.stack(windows).astype(np.float32)


def main() -> None:
    """Run both sides and print the ratio."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as tiny:
        from cv_pipelines.sources import hapt

        prepare(Path(folder))
        hapt.write_sample(Path(tiny), n=2)
        sides = (ours, script, script_to_text)
        mine, array, text = in_turns(sides, Path(folder), warm=(Path(tiny),), rounds=3)
    if not mine.result == array.result == text.result:
        raise SystemExit(f"ours has {mine.result} windows, the script {array.result}")
    what, peer = f"phone recordings to {mine.result:,} windows", "numpy and scipy script"
    rows = [
        Row(what, "s", mine.seconds, text.seconds, f"{peer} to UCI HAR's files", 4.0),
        Row(what, "s", mine.seconds, array.seconds, f"{peer} to an array"),
    ]
    report("data_windows", rows)


if __name__ == "__main__":
    main()
