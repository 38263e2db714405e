"""HAPT 2.1, "Smartphone-Based Recognition of Human Activities and Postural Transitions": 50 Hz recordings.

Layout: `RawData/{acc,gyro}_expXX_userYY.txt` (a row a sample, three axes, g and rad/s), `RawData/labels.txt`
(rows of experiment, user, activity, first and last sample, 1-based and inclusive), the lists of subjects
`Train/subject_id_train.txt` and `Test/subject_id_test.txt`; in `HAPT Data Set/` or packed as
`HAPT Data Set.tar.xz`, which is read where it lies. Windows are cut here, inside each labelled segment, by
default as the authors did: 10,929 windows of all activities. Source: https://archive.ics.uci.edu/dataset/341.
Licence: CC BY 4.0 there; the bundled README prohibits commercial use. Citation: J.-L. Reyes-Ortiz et al.,
"Transition-Aware Human Activity Recognition Using Smartphones", Neurocomputing 171, 2016.
"""

from __future__ import annotations

import lzma
import re
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

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
    TRANSITIONS,
    BadRow,
    cut_windows,
    fill_rows,
    nine_channels,
    parse_rows,
    window_starts,
)

FOLDER = "HAPT Data Set"
LABELS = "RawData/labels.txt"
LISTS = {"train": "Train/subject_id_train.txt", "test": "Test/subject_id_test.txt"}
NAMES = ACTIVITIES + TRANSITIONS
EXPECTED = f"'{FOLDER}/' or '{FOLDER}.tar.xz' with RawData/, Train/ and Test/"
LARGEST_MEMBER = 256 << 20
"""Bytes; the authors' longest recording has 1.9 million. A packed archive may claim any size."""

_NEEDED = re.compile(
    r"(RawData/(labels|(acc|gyro)_exp\d+_user\d+)|(Train|Test)/subject_id_(train|test))\.txt$"
)


@dataclass(frozen=True)
class _Segment:
    """One line of labels.txt: `start` 0-based, `stop` exclusive, `activity` a class index."""

    line: int
    experiment: int
    user: int
    activity: int
    start: int
    stop: int


@dataclass
class _Windows:
    """What is cut so far: (n, 9, window) blocks, and a sample row for each window."""

    window: int
    step: int
    blocks: list[np.ndarray] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


def read(
    root: Path,
    *,
    activities: Literal["base", "all"] = "base",
    window: Annotated[int, Field(ge=16)] = 128,
    step: PositiveInt = 64,
) -> Tables:
    """Filter the recordings and cut them into windows.

    Bad rows of a recording are bridged before filtering; windows that touch them are dropped, with a
    quarantine row naming file and lines.

    Args:
        root: folder that holds `HAPT Data Set` or its tar archive, or that folder itself; nothing is written.
        activities: "base" for the six activities of UCI HAR, "all" for these and the six transitions.
        window: samples in a window, at 50 Hz; 16 at least.
        step: samples from one window's start to the next one's.

    Returns:
        Tables with a sample a window (`group` is the subject) and array `signals` (N, 9, window) float32 in
        the order of `signals.CHANNELS`, in g and rad/s.

    Raises:
        SourceError: no data set, labels or subject lists; an unreadable archive; a subject in both lists; or
            no usable window.
    """
    prefix, members = _members(root)
    quarantine = Quarantine()
    splits = _subject_splits(root, prefix, members, quarantine)
    names = NAMES if activities == "all" else ACTIVITIES
    segments = [s for s in _segments(prefix, members[LABELS], quarantine) if s.activity < len(names)]
    found = _Windows(window, step)
    for key in sorted({(s.experiment, s.user) for s in segments}):
        mine = [s for s in segments if (s.experiment, s.user) == key]
        if key[1] in splits:
            _read_recording(prefix, members, mine, splits[key[1]], found, quarantine)
        else:
            where = f"{prefix}{LABELS}:{mine[0].line}"
            quarantine.drop(where, "subject in no split", f"user {key[1]}, experiment {key[0]}")
    if not found.rows:
        raise SourceError(f"{root}: no usable window of {window} samples in the segments of {prefix}{LABELS}")
    for index, row in enumerate(found.rows):
        row["row"] = index
    return Tables(
        samples=samples_table(found.rows),
        annotations=annotations_table([]),
        categories=Categories(labels=categories_of(list(names), [str(i + 1) for i in range(len(names))])),
        quarantine=quarantine.table(),
        arrays={"signals": np.concatenate(found.blocks)},
        facts=_facts(segments, found),
    )


def _facts(segments: list[_Segment], found: _Windows) -> dict[str, Any]:
    subjects = {split: {r["group"] for r in found.rows if r["split"] == split} for split in LISTS}
    return {
        "reader": "hapt",
        "official_split": "train and test, by subject",
        "licence": "CC BY 4.0 (UCI repository); the bundled README prohibits commercial use",
        "channels": list(CHANNELS),
        "subjects": {split: len(groups) for split, groups in subjects.items()},
        "segments": len(segments),
        "segments_shorter_than_window": sum(s.stop - s.start < found.window for s in segments),
    }


def _members(root: Path) -> tuple[str, dict[str, bytes]]:
    """Return what stands before member names in messages, and name (from RawData/, …) to bytes."""
    for folder, prefix in ((root / FOLDER, f"{FOLDER}/"), (root, "")):
        if (folder / "RawData").is_dir():
            paths = {
                p.relative_to(folder).as_posix(): p for p in sorted(folder.glob("*/*.txt")) if p.is_file()
            }
            return prefix, _checked(root, {n: read_whole(p) for n, p in paths.items() if _NEEDED.match(n)})
    archives = sorted(path for path in root.glob(f"{FOLDER}.tar*") if path.is_file())
    if not archives:
        raise SourceError(f"{root}: no HAPT data; expected {EXPECTED}")
    return f"{archives[0].name}/", _checked(root, _unpack(archives[0]))


def _unpack(archive: Path) -> dict[str, bytes]:
    """Read the needed members of an archive into memory, in one pass."""
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                found = _NEEDED.search(member.name)
                stream = tar.extractfile(member) if found and member.isfile() else None
                if found and member.size > LARGEST_MEMBER:
                    raise SourceError(f"{archive}: {member.name} has {member.size:,} bytes; no recording has")
                if found and stream:
                    members[found.group()] = stream.read()
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise SourceError(f"{archive}: unreadable archive ({error}); expected {EXPECTED}") from None
    return members


def _checked(root: Path, members: dict[str, bytes]) -> dict[str, bytes]:
    missing = [name for name in (LABELS, *LISTS.values()) if name not in members]
    if missing:
        raise SourceError(f"{root}: missing {', '.join(missing)}; expected {EXPECTED}")
    return members


def _integers(name: str, data: bytes, width: int, quarantine: Quarantine) -> tuple[np.ndarray, np.ndarray]:
    """Return the (N, width) int64 good lines of a file and their 1-based line numbers."""
    values, bad = parse_rows(data, width, whole=True)
    for row in bad:
        quarantine.drop(f"{name}:{row.index + 1}", row.reason, row.detail)
    good = np.isfinite(values).all(axis=1)
    return values[good].astype(np.int64), np.flatnonzero(good) + 1


def _subject_splits(
    root: Path, prefix: str, members: dict[str, bytes], quarantine: Quarantine
) -> dict[int, str]:
    users = {
        split: set(_integers(prefix + name, members[name], 1, quarantine)[0][:, 0].tolist())
        for split, name in LISTS.items()
    }
    both = users["train"] & users["test"]
    if both:
        raise SourceError(f"{root}: subjects {sorted(both)} in both {LISTS['train']} and {LISTS['test']}")
    return {user: split for split, found in users.items() for user in found}


def _segments(prefix: str, data: bytes, quarantine: Quarantine) -> list[_Segment]:
    """Read labels.txt; lines that make no sense, and segments that overlap an earlier one, are dropped."""
    kept: list[_Segment] = []
    reached: dict[tuple[int, int], int] = {}
    values, lines = _integers(prefix + LABELS, data, 5, quarantine)
    found = [
        _Segment(line, experiment, user, activity - 1, first - 1, last)
        for (experiment, user, activity, first, last), line in zip(
            values.tolist(), lines.tolist(), strict=True
        )
    ]
    for one in sorted(found, key=lambda s: (s.experiment, s.user, s.start)):
        where, key = f"{prefix}{LABELS}:{one.line}", (one.experiment, one.user)
        if not 0 <= one.activity < len(NAMES):
            quarantine.drop(where, "unknown activity", f"{one.activity + 1}; expected 1 to {len(NAMES)}")
        elif not 0 <= one.start < one.stop:
            quarantine.drop(where, "empty segment", f"{one.start + 1} to {one.stop}")
        elif one.start < reached.get(key, 0):
            quarantine.drop(where, "overlapping segment", f"starts at {one.start + 1}, before another's end")
        else:
            reached[key] = one.stop
            kept.append(one)
    return kept


def _read_recording(
    prefix: str,
    members: dict[str, bytes],
    segments: list[_Segment],
    split: str,
    found: _Windows,
    quarantine: Quarantine,
) -> None:
    """Cut the windows of one experiment's segments and add them to `found`."""
    experiment, user = segments[0].experiment, segments[0].user
    names = [f"RawData/{kind}_exp{experiment:02d}_user{user:02d}.txt" for kind in ("acc", "gyro")]
    missing = [name for name in names if name not in members]
    for name in missing:
        quarantine.drop(prefix + name, "missing file", f"{len(segments)} labelled segments left out")
    if missing:
        return
    parsed = [parse_rows(members[name], 3) for name in names]
    length = min(len(values) for values, _ in parsed)
    acc, gyro = (values[:length] for values, _ in parsed)
    if len(parsed[0][0]) != len(parsed[1][0]):
        detail = f"{len(parsed[0][0])} samples, gyroscope {len(parsed[1][0])}; cut to the shorter"
        quarantine.repair(prefix + names[0], "recordings of different length", detail)
    good = np.isfinite(acc).all(axis=1) & np.isfinite(gyro).all(axis=1)
    kept, starts = _place_windows(prefix, segments, length, found, quarantine)
    _note_bad_rows(prefix, names, [bad for _, bad in parsed], starts, found.window, quarantine)
    clean = np.array([good[start : start + found.window].all() for start in starts], dtype=bool)
    if not clean.any():
        return
    signal = nine_channels(fill_rows(acc), fill_rows(gyro))
    block = cut_windows(signal, starts[clean], found.window)
    found.blocks.append(block)
    for one, start, values in zip(np.array(kept)[clean], starts[clean], block, strict=True):
        found.rows.append(
            {
                "sample_id": f"exp{experiment:02d}_user{user:02d}_{start + 1:05d}",
                "split": split,
                "group": f"subject_{user:02d}",
                "labels": [int(one)],
                "content_hash": content_hash(values.tobytes()),
            }
        )


def _place_windows(
    prefix: str, segments: list[_Segment], length: int, found: _Windows, quarantine: Quarantine
) -> tuple[list[int], np.ndarray]:
    """Return the class and the first sample of each window inside the segments."""
    activities, starts = [], [np.empty(0, dtype=np.int64)]
    for one in segments:
        if one.stop > length:
            where = f"{prefix}{LABELS}:{one.line}"
            detail = f"{one.start + 1} to {one.stop} of {length} samples; what is past the end left out"
            quarantine.drop(where, "segment past the recording", detail)
        inside = window_starts(one.start, min(one.stop, length), found.window, found.step)
        activities += [one.activity] * len(inside)
        starts.append(inside)
    return activities, np.concatenate(starts)


def _note_bad_rows(
    prefix: str,
    names: list[str],
    defects: list[list[BadRow]],
    starts: np.ndarray,
    window: int,
    quarantine: Quarantine,
) -> None:
    """Record each run of bad lines once: dropped with the windows it spoils, else bridged."""
    for name, bad in zip(names, defects, strict=True):
        index = np.array([row.index for row in bad], dtype=np.int64)
        breaks = np.flatnonzero(np.diff(index) > 1) + 1
        for run in np.split(np.arange(len(bad)), breaks) if bad else []:
            first, last = int(index[run[0]]), int(index[run[-1]])
            spoilt = int(((starts <= last) & (starts + window > first)).sum())
            where = f"{prefix}{name}:{first + 1}" + (f"-{last + 1}" if last > first else "")
            reason, detail = bad[run[0]].reason, bad[run[0]].detail
            if spoilt:
                quarantine.drop(where, reason, f"{detail}; {spoilt} windows left out")
            else:
                quarantine.repair(where, reason, f"{detail}; in no window, bridged")


_PROTOCOL = (
    (5, 7, 4, 8, 5, 11, 6, 10, 4, 9, 6, 12),
    (1, 2, 3),
)
"""Activity ids of an experiment in order: postures with their transitions, then walking with pauses."""

_SEGMENT, _TRANSITION, _PAUSE = 600, 180, 150


def write_sample(root: Path, *, n: int = 8, seed: int = 0) -> Truth:
    """Write simulated recordings in the official layout, two experiments for each subject.

    Args:
        root: folder in which `HAPT Data Set` is made.
        n: subjects; the last quarter of them (one at least, where there are two) is the test split.
        seed: same seed, same bytes.

    Returns:
        The windows and activities that `read` finds with its default options.
    """
    rng = np.random.default_rng(seed)
    held_out = max(n // 4, 1) if n > 1 else 0
    folder, truth, labels = root / FOLDER, Truth(splits={}), []
    (folder / "RawData").mkdir(parents=True, exist_ok=True)
    counts = dict.fromkeys(range(1, n + 1), 0)
    for user in counts:
        person = draw_person(rng)
        for experiment in (2 * user - 1, 2 * user):
            plan, segments = _plan(rng)
            stem = f"exp{experiment:02d}_user{user:02d}"
            for kind, values in zip(("acc", "gyro"), simulate(person, plan, rng), strict=True):
                text = "".join(f"{x:.16g} {y:.16g} {z:.16g}\n" for x, y, z in values.tolist())
                (folder / "RawData" / f"{kind}_{stem}.txt").write_text(text)
            labels += [f"{experiment} {user} {a} {first} {last}\n" for a, first, last in segments]
            found = _expected(stem, segments)
            truth.labels |= found
            counts[user] += len(found)
    (folder / LABELS).write_text("".join(labels))
    _write_lists(folder, counts, n - held_out, truth)
    return truth


def _plan(rng: np.random.Generator) -> tuple[list[tuple[str, int]], list[tuple[int, int, int]]]:
    """Draw one experiment: what to simulate, and its labelled (activity id, first, last) as in labels.txt."""
    plan: list[tuple[str, int]] = [("STANDING", _PAUSE)]
    segments, at = [], _PAUSE
    for part, pause in zip(_PROTOCOL, (0, _PAUSE), strict=True):
        for activity in part:
            length = int((_SEGMENT if activity <= 6 else _TRANSITION) * rng.uniform(0.85, 1.15))
            plan.append((NAMES[activity - 1], length))
            segments.append((activity, at + 1, at + length))
            at += length
            if pause:
                plan.append(("STANDING", pause))
                at += pause
    return plan, segments


def _expected(stem: str, segments: list[tuple[int, int, int]]) -> dict[str, list[str]]:
    return {
        f"{stem}_{start:05d}": [NAMES[activity - 1]]
        for activity, first, last in segments
        if activity <= len(ACTIVITIES)
        for start in range(first, last - 126, 64)
    }


def _write_lists(folder: Path, counts: dict[int, int], trained: int, truth: Truth) -> None:
    """Write the class names and the official lists, in which a subject's id stands once a window."""
    lines = [f"{i} {name}\n" for i, name in enumerate(NAMES, start=1)]
    (folder / "activity_labels.txt").write_text("".join(lines))
    for split, name in LISTS.items():
        users = [user for user in counts if (user <= trained) == (split == "train")]
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("".join(f"{user}\n" * counts[user] for user in users))
        if users:
            truth.splits[split] = sum(counts[user] for user in users)
