"""UCI HAR v1.0, "Human Activity Recognition Using Smartphones": windows of nine signals as text files.

Layout, under the given root or under `UCI HAR Dataset/` in it:
`{train,test}/Inertial Signals/{body_acc,body_gyro,total_acc}_{x,y,z}_{train,test}.txt` (a row a window of 128
samples at 50 Hz), `{train,test}/{y,subject}_{train,test}.txt` and, where present, `X_{train,test}.txt` (561
features a row). Source: https://archive.ics.uci.edu/dataset/240. Licence: CC BY 4.0. Citation: D. Anguita,
A. Ghio, L. Oneto, X. Parra, J. L. Reyes-Ortiz, "A Public Domain Dataset for Human Activity Recognition Using
Smartphones", ESANN 2013.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cv_pipelines.data.inspection import content_hash
from cv_pipelines.data.schema import (
    Categories,
    Quarantine,
    Tables,
    Truth,
    annotations_table,
    categories_of,
    samples_table,
)
from cv_pipelines.errors import SourceError
from cv_pipelines.sources.lists import read_whole
from cv_pipelines.sources.motion import draw_person, simulate
from cv_pipelines.sources.signals import (
    ACTIVITIES,
    CHANNELS,
    cut_windows,
    nine_channels,
    parse_rows,
    window_starts,
)

FOLDER = "UCI HAR Dataset"
WINDOW = 128
FEATURES = 561
SPLITS = ("train", "test")
SAMPLE_WINDOWS = 15
"""Windows of each activity and subject that `write_sample` writes."""


def read(root: Path) -> Tables:
    """Read all windows of both official splits.

    A window with a bad row in any of its files is dropped, with a quarantine row naming file and line.

    Args:
        root: folder that holds `UCI HAR Dataset`, or that folder itself.

    Returns:
        Tables with a sample a window (`group` is the subject) and arrays `signals` (N, 9, 128) float32 in the
        order of `signals.CHANNELS`, in g and rad/s, and, where both X files are present, `features` (N, 561)
        float32 in -1..1.

    Raises:
        SourceError: a file is missing, files of one split have different numbers of rows, or no window is
            usable.
    """
    folder = root / FOLDER if (root / FOLDER).is_dir() else root
    if not (folder / "train").is_dir():
        raise SourceError(f"{root}: no UCI HAR data; expected '{FOLDER}/train/Inertial Signals/*_train.txt'")
    quarantine = Quarantine()
    columns = _feature_columns(root, folder, quarantine)
    parts = [_read_split(root, folder, split, columns, quarantine) for split in SPLITS]
    signals, features = (np.concatenate([part[i] for part in parts]) for i in range(2))
    rows = [row for _, _, found in parts for row in found]
    if not rows:
        raise SourceError(f"{folder}: no usable window; expected rows of {WINDOW} numbers")
    for index, row in enumerate(rows):
        row |= {"row": index, "content_hash": content_hash(signals[index].tobytes())}
    return Tables(
        samples=samples_table(rows),
        annotations=annotations_table([]),
        categories=Categories(labels=categories_of(list(ACTIVITIES), [str(i) for i in range(1, 7)])),
        quarantine=quarantine.table(),
        arrays={"signals": signals, **({"features": features} if columns else {})},
        facts=_facts(rows),
    )


def _facts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    subjects = {split: sorted({r["group"] for r in rows if r["split"] == split}) for split in SPLITS}
    return {
        "reader": "uci_har",
        "official_split": "train and test, by subject",
        "licence": "CC BY 4.0",
        "channels": list(CHANNELS),
        "subjects": {split: len(found) for split, found in subjects.items()},
        "shared_groups": {"train|test": sorted(set(subjects["train"]) & set(subjects["test"]))},
    }


def _feature_columns(root: Path, folder: Path, quarantine: Quarantine) -> int:
    """Return 561 if both X files are there, else 0; one without the other is a defect."""
    paths = [folder / split / f"X_{split}.txt" for split in SPLITS]
    missing = [path for path in paths if not path.is_file()]
    if len(missing) == 1:
        name = missing[0].relative_to(root).as_posix()
        quarantine.drop(name, "missing file", "the other split has its features; features left out of both")
    return 0 if missing else FEATURES


def _read_split(
    root: Path, folder: Path, split: str, columns: int, quarantine: Quarantine
) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
    """Return signals (N, 9, 128), features (N, `columns`) and the sample rows of one split's good windows."""
    base = folder / split
    files = {f"Inertial Signals/{channel}_{split}.txt": WINDOW for channel in CHANNELS}
    files |= {f"y_{split}.txt": 1, f"subject_{split}.txt": 1}
    if columns:
        files[f"X_{split}.txt"] = columns
    bad: set[int] = set()
    values = [_load(root, base / name, width, bad, quarantine) for name, width in files.items()]
    counts = {name: len(rows) for name, rows in zip(files, values, strict=True)}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise SourceError(
            f"{base}: files with different numbers of rows ({listed}); expected the same in all"
        )
    labels, subjects = values[9][:, 0], values[10][:, 0]
    for index in np.flatnonzero(~np.isin(labels, range(1, 7)) & np.isfinite(labels)):
        name = (base / f"y_{split}.txt").relative_to(root).as_posix()
        quarantine.drop(f"{name}:{index + 1}", "unknown activity", f"{labels[index]:g}; expected 1 to 6")
        bad.add(int(index))
    good = np.setdiff1d(np.arange(len(labels)), list(bad)).astype(np.int64)
    rows = [_row(split, int(i), int(labels[i]), int(subjects[i])) for i in good]
    signals = np.stack([channel[good] for channel in values[:9]], axis=1)
    features = values[11][good] if columns else np.empty((len(good), 0), dtype=np.float32)
    return signals, features, rows


def _load(root: Path, path: Path, width: int, bad: set[int], quarantine: Quarantine) -> np.ndarray:
    """Read one file as (N, width) float32; unusable lines go to `quarantine`, their indices to `bad`."""
    name = path.relative_to(root).as_posix()
    if not path.is_file():
        raise SourceError(f"{root}: missing file {name}; expected a row of {width} number(s) a window")
    values, defects = parse_rows(read_whole(path), width, whole=width == 1)  # ids
    for defect in defects:
        quarantine.drop(f"{name}:{defect.index + 1}", defect.reason, f"{defect.detail}; window left out")
        bad.add(defect.index)
    return values.astype(np.float32)


def _row(split: str, index: int, activity: int, subject: int) -> dict[str, Any]:
    return {
        "sample_id": f"{split}_{index:05d}",
        "split": split,
        "group": f"subject_{subject:02d}",
        "labels": [activity - 1],
    }


def write_sample(root: Path, *, n: int = 8, seed: int = 0) -> Truth:
    """Write simulated windows in the v1.0 layout, without X files.

    Args:
        root: folder in which `UCI HAR Dataset` is made.
        n: subjects; the last quarter of them (one at least, where there are two) is the test split. Each has
            `SAMPLE_WINDOWS` windows of each of the six activities.
        seed: same seed, same bytes.

    Returns:
        The number of windows of each split and the activity of each window.
    """
    rng = np.random.default_rng(seed)
    held_out = max(n // 4, 1) if n > 1 else 0
    folder, truth = root / FOLDER, Truth(splits={})
    for split, subjects in {
        "train": range(1, n - held_out + 1),
        "test": range(n - held_out + 1, n + 1),
    }.items():
        drawn = [_simulate_subject(rng) for _ in subjects]
        windows = np.concatenate([w for w, _ in drawn]) if drawn else np.empty((0, 9, WINDOW))
        labels = np.concatenate([y for _, y in drawn]) if drawn else np.empty(0, dtype=np.int64)
        _write_split(folder / split, split, windows, labels, np.repeat(list(subjects), 6 * SAMPLE_WINDOWS))
        truth.splits |= {split: len(labels)} if len(labels) else {}
        truth.labels |= {f"{split}_{i:05d}": [ACTIVITIES[y - 1]] for i, y in enumerate(labels)}
    lines = [f"{i} {name}" for i, name in enumerate(ACTIVITIES, start=1)]
    (folder / "activity_labels.txt").write_text("\n".join(lines) + "\n")
    return truth


def _simulate_subject(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return (90, 9, 128) windows and (90,) activity ids of one new subject."""
    length = WINDOW + (SAMPLE_WINDOWS - 1) * WINDOW // 2
    plan = [(name, length) for name in ACTIVITIES]
    signal = nine_channels(*simulate(draw_person(rng), plan, rng))
    starts = [window_starts(i * length, (i + 1) * length, WINDOW, WINDOW // 2) for i in range(len(plan))]
    windows = cut_windows(signal, np.concatenate(starts), WINDOW)
    return windows, np.repeat(np.arange(1, len(plan) + 1), SAMPLE_WINDOWS)


def _write_split(
    base: Path, split: str, windows: np.ndarray, labels: np.ndarray, subjects: np.ndarray
) -> None:
    (base / "Inertial Signals").mkdir(parents=True, exist_ok=True)
    form = "%15.7e" * WINDOW
    for index, channel in enumerate(CHANNELS):
        text = "".join(form % tuple(row) + "\n" for row in windows[:, index].tolist())
        # The official files have exponents of three digits, as MATLAB wrote them on Windows.
        text = text.replace("e-", "e-0").replace("e+", "e+0")
        (base / "Inertial Signals" / f"{channel}_{split}.txt").write_text(text)
    for name, column in (("y", labels), ("subject", subjects)):
        (base / f"{name}_{split}.txt").write_text("".join(f"{value}\n" for value in column))
