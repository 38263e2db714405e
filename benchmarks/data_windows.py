"""Phone recordings to windows: our HAPT reader against the plain numpy and scipy script.

The script is what one writes from the data set's README: `numpy.loadtxt` for each file, a median filter and
Butterworth filters axis by axis, a slice a window. Both read the unpacked tree: the real one if
`CV_PIPELINES_RAW` holds `hapt/`, else drawn recordings of 30 people.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path

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


def script(root: Path) -> int:
    """Cut the windows as a script does; returns their number."""
    import numpy as np
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
    return len(np.stack(windows).astype(np.float32))


def main() -> None:
    """Run both sides and print the ratio."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as tiny:
        from cv_pipelines.sources import hapt

        prepare(Path(folder))
        hapt.write_sample(Path(tiny), n=2)
        mine, peer = in_turns((ours, script), Path(folder), warm=(Path(tiny),), rounds=3)
    if mine.result != peer.result:
        raise SystemExit(f"ours has {mine.result} windows, the script {peer.result}")
    what = f"phone recordings to {mine.result:,} windows"
    report("data_windows", [Row(what, "s", mine.seconds, peer.seconds, "numpy and scipy script", 4.0)])


if __name__ == "__main__":
    main()
