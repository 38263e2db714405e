"""One run: a case, damaged in one mode many times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings

from fuzzing.attempts import attempt, bound
from fuzzing.damage import Damage, applied, at_random
from fuzzing.guided import TARGETS, explore
from fuzzing.results import Results
from fuzzing.seeds import CASES, Case, prepare
from fuzzing.structured import damages

MODES = ("random", "structured", "guided")


@dataclass(frozen=True)
class Run:
    """What is tried.

    Attributes:
        case: name of one of `CASES`.
        mode: one of `MODES`.
        raw: folder of the real data that it is cut from; drawn if None.
        inputs: how many.
        seed: of the damage.
    """

    case: str
    mode: str
    raw: str | None
    inputs: int
    seed: int

    @property
    def reader(self) -> str:
        """The reader of the case."""
        return next(case.reader for case in CASES if case.name == self.case)

    def __str__(self) -> str:
        return f"{self.case} · {self.mode} · {'real' if self.raw else 'drawn'}"


def runs(inputs: int, seed: int, modes: list[str], raw: str | None, names: list[str]) -> list[Run]:
    """Share inputs out: to modes alike, within a mode to its data sets alike, but fewer to slow ones.

    Args:
        inputs: of all runs together, about.
        seed: of the damage.
        modes: which.
        raw: folder of the real data, None if there are none.
        names: readers that are asked for; all if empty.
    """
    found = []
    for mode in modes:
        sets = [
            pair for case in CASES if not names or case.reader in names for pair in _sets(case, mode, raw)
        ]
        whole = sum(case.share for case, _ in sets)
        for case, source in sets:
            count = round(inputs / len(modes) * case.share / whole)
            found.append(Run(case.name, mode, source, count, seed))
    return found


def _sets(case: Case, mode: str, raw: str | None) -> list[tuple[Case, str | None]]:
    sources = ([None] if case.n else []) + ([raw] if raw and case.cut else [])
    if mode == "guided":  # the smallest file there is
        sources = sources[:1] if case.name in TARGETS else []
    return [(case, source) for source in sources]


def execute(run: Run, report: Path, *, bounded: bool = True) -> Results | None:
    """Do a run.

    Args:
        run: which.
        report: gets the results as JSON.
        bounded: whether to bound time and memory of this process from now on.

    Returns:
        The results; a guided run does not return.
    """
    case = next(case for case in CASES if case.name == run.case)
    with TemporaryDirectory() as place:
        folder = Path(place)
        files = prepare(case, folder, Path(run.raw) if run.raw else None)
        if bounded:
            bound()
        if run.mode == "guided":
            target = next(path for path in files if path.match(TARGETS[case.name]))
            once = lambda: attempt(case.reader, folder, case.options)  # noqa: E731
            explore(target, run.inputs, run.seed, once, lambda r: _write(report, r))
        tried = {"random": _at_random, "structured": _structured}[run.mode]
        results = tried(run, case, folder, files)
    _write(report, results)
    return results


def _write(report: Path, results: Results) -> None:
    report.write_text(results.as_json(), encoding="utf-8")


def _try(results: Results, case: Case, folder: Path, damage: Damage, name: str) -> None:
    changed = {path.relative_to(folder).as_posix(): _shown(content) for path, content in damage.items()}
    with applied(damage, folder):
        results.add(lambda: attempt(case.reader, folder, case.options), lambda: f"{name}: {changed}")


def _shown(content: bytes | str) -> str:
    return content if isinstance(content, str) else f"{len(content)} bytes {content[:300]!r}"


def _at_random(run: Run, case: Case, folder: Path, files: list[Path]) -> Results:
    results = Results()
    for number in range(run.inputs):
        rng = np.random.default_rng([run.seed, number])  # so that one input can be had again
        _try(results, case, folder, at_random(files, rng), f"input {number}")
    return results


def _structured(run: Run, case: Case, folder: Path, files: list[Path]) -> Results:
    results = Results()

    @seed(run.seed)
    @settings(
        max_examples=run.inputs,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(damages(files))
    def once(damage: Damage) -> None:
        """Try one."""
        _try(results, case, folder, damage, f"input {results.inputs}")

    once()
    return results
