"""A plan as it is printed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 4
"""Names that a line holds before the others are counted."""


def show(found: dict[str, Any]) -> None:
    """Print a plan."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160)
    fresh = sum(step["state"] == "fresh" for step in found["steps"])
    if fresh < len(found["steps"]):
        console.print(plan_table(found))
    for line in (
        f"Plan of {found['pipeline']}: {fresh} of {len(found['steps'])} steps are up to date",
        *(f"Missing   {one}" for one in found["missing"]),
        f"Disk      {disk_line(found['disk'])}",
        f"Time      {time_line(found)}",
        *(f"Probe     {name}: {probe_line(one)}" for name, one in found["probes"].items()),
        *command_lines(found),
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def plan_table(found: dict[str, Any]) -> Table:
    """Lay out the steps that are needed or cannot be made, with why."""
    from rich.markup import escape
    from rich.table import Table

    words = {"run": "runs", "maybe": "may run", "missing": "cannot run"}
    shown = [step for step in found["steps"] if step["state"] != "fresh"]
    table = Table()
    for heading in ("step", "", "because"):
        table.add_column(heading, overflow="fold")
    for step in shown:
        why = escape("\n".join(step["reasons"]))
        table.add_row(f"{step['namespace']}.{step['name']}", words[step["state"]], why)
    return table


def disk_line(disk: dict[str, Any]) -> str:
    """Say what is written and what is free."""
    unknown = f", not counted {listed(disk['unknown'])}" if disk["unknown"] else ""
    short = "" if disk["needed"] <= disk["free"] else ": NOT ENOUGH"
    return f"{size(disk['needed'])} to write at most{unknown}; {size(disk['free'])} free{short}"


def time_line(found: dict[str, Any]) -> str:
    """Say how long what is needed is expected to take: each training, and all else together."""
    needed = [step for step in found["steps"] if step["state"] in {"run", "maybe"}]
    if not needed:
        return "none is needed"
    known = [step for step in needed if step["seconds"] is not None]
    trained = [step for step in known if step["name"] == "train_model"]
    others = [step for step in known if step["name"] != "train_model"]
    told = [f"training {s['namespace']} {minutes(s['seconds'])} ({s['basis']})" for s in trained]
    if others:
        of = "as other steps took here before" if trained else "as these steps took here before"
        told.append(f"{minutes(sum(s['seconds'] for s in others))} {of}")
    told += [f"{minutes(60 * found['time']['minutes'])} in all"] if len(told) > 1 else []
    unknown = found["time"]["unknown"]
    told += [f"unknown for {listed(unknown)}: not run here so far"] if unknown else []
    return "; ".join(told)


def minutes(seconds: float) -> str:
    """Tell a time in minutes."""
    return f"{seconds / 60:.1f} min"


def probe_line(one: dict[str, Any]) -> str:
    """Say what one step took."""
    if "error" in one:
        return str(one["error"])
    if not one["fits"]:
        return f"a batch of {one['batch_size']} does not fit into memory"
    own = f", {size(one['libraries'])} of it libraries" if "libraries" in one else ""
    return (
        f"a batch of {one['batch_size']} takes {size(one['peak'])} of {size(one['limit'])} on "
        f"{one['device']}{own}; the first step took {one['seconds']:.1f} s"
    )


def command_lines(found: dict[str, Any]) -> list[str]:
    """Say what to run."""
    if found["command"] is None:
        return ["Run       nothing"]
    whole, only, _ = found["command"].partition(" --nodes")
    told = [f"Run       {found['command']}"]
    if only:
        told.append(f"          (`{whole}` runs all {found['nodes']} nodes, those that are up to date too)")
    if any(step["state"] == "maybe" for step in found["steps"]):
        told.append("          Then plan again: what may run depends on what comes out.")
    return told


def size(count: float) -> str:
    """Tell bytes in a unit that suits them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in {"B", "kB"} else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def listed(names: list[str]) -> str:
    """Name the first of many, and count the others."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
