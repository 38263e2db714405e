"""Damage data sets and read them, many times; prints a row a run and the finds; ends with 1 if there are any.

CV_PIPELINES_RAW=… PYTHONPATH=src:tests/sources python -m fuzzing --inputs 100000 --seed 0
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="of all runs together, about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", nargs="*", default=[])
    parser.add_argument("--modes", nargs="*", default=["random", "structured"])
    parser.add_argument("--atheris", action="store_true", help="the mode 'guided' too, which needs atheris")
    parser.add_argument("--only", nargs="*", default=[""], help="runs whose name holds one of these texts")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)  # of a process of its own
    asked = parser.parse_args()
    if asked.run:
        _guided(*asked.run)
        return
    modes = asked.modes + ["guided"] * asked.atheris
    if "guided" in modes and not _has_atheris():
        modes.remove("guided")
        print("atheris is not installed (pip install atheris): the guided mode is left out")
    sys.exit(1 if _all(asked.inputs, asked.seed, modes, asked.readers, asked.only) else 0)


def _has_atheris() -> bool:
    try:
        return bool(version("atheris"))
    except ImportError:
        return False


def _guided(content: str, report: str) -> None:
    """Do one guided run in this process: readers are imported with counters, so before anything else."""
    from fuzzing import guided

    guided.instrument()
    from fuzzing.runs import Run, execute

    _hasten()
    execute(Run(**json.loads(content)), Path(report))


def _hasten() -> None:
    from cv_pipelines.sources import READERS, reader
    from fuzzing.attempts import hasten

    for name in READERS:
        reader(name)  # once, not in every process that is forked off
    hasten()


def _all(inputs: int, seed: int, modes: list[str], readers: list[str], only: list[str]) -> int:
    """Do all runs, each in a process of its own; return the number of finds."""
    from fuzzing.runs import runs

    _hasten()
    raw = os.environ.get("CV_PIPELINES_RAW")
    found, done = 0, []
    for run in runs(inputs, seed, modes, raw, readers):
        if not any(text in str(run) for text in only):
            continue
        with TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            code = _started(run, report)
            if not report.is_file():
                print(f"{run}: ended with {code} before its time: a crash, or a reading that never ends")
                found += 1
                continue
            result = json.loads(report.read_text(encoding="utf-8"))
        _print(str(run), result)
        found += len(result["finds"])
        done.append((run.reader, result))
    _table(done)
    return found


def _table(done: list[tuple[str, dict[str, Any]]]) -> None:
    """Print what came of each reader, in Markdown."""
    print("\n| reader | inputs | read | refused | finds | seconds of CPU | slowest, s | peak, MB |")
    print("|---|---|---|---|---|---|---|---|")
    for reader in [*sorted({name for name, _ in done}), "all"]:
        results = [result for name, result in done if reader in {name, "all"}]
        read, refused, seconds = (sum(r[key] for r in results) for key in ("read", "refused", "seconds"))
        finds = sum(len(r["finds"]) for r in results)
        slowest, peak = (max((r[key] for r in results), default=0) for key in ("slowest", "peak"))
        counts = f"{read + refused + finds:,} | {read:,} | {refused:,} | {finds}"
        print(f"| {reader} | {counts} | {seconds:,.0f} | {slowest:.2f} | {peak} |")


def _started(run: Any, report: Path) -> int | None:
    from fuzzing.runs import execute

    if run.mode == "guided":
        command = [sys.executable, "-m", "fuzzing", "--run", json.dumps(asdict(run)), str(report)]
        log = report.with_name("log")
        with log.open("wb") as stream:
            code = subprocess.run(command, check=False, stdout=stream, stderr=stream).returncode
        if code:
            print(log.read_text(errors="replace")[-2000:])
        return code
    process = multiprocessing.get_context("fork").Process(target=execute, args=(run, report))
    process.start()
    process.join()
    return process.exitcode


def _print(name: str, result: dict[str, Any]) -> None:
    inputs = result["read"] + result["refused"] + len(result["finds"])
    print(
        f"{name}: {inputs} inputs, {result['read']} read, {result['refused']} refused, "
        f"{len(result['finds'])} finds, {result['seconds']:.0f} s, slowest {result['slowest']:.2f} s, "
        f"peak {result['peak']} MB",
        flush=True,
    )
    last: Counter[str] = Counter()
    for find in result["finds"]:
        reason = find.strip().splitlines()[-1][:60]
        last[reason] += 1
        if last[reason] <= 2:  # the same again tells nothing new
            lines = find.strip().splitlines()
            print("\n".join([lines[0], *lines[-12:]]))
    for reason, count in last.items():
        print(f"    {count} × {reason}")


if __name__ == "__main__":
    main()
