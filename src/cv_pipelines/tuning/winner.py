"""The best trial as an experiment of its own, in a file that Kedro reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from cv_pipelines.tuning.space import with_values

LEFT_OUT = ("tour", "group")
"""What the experiment says of its place among others; the winner has a place of its own."""


def winner_yaml(found: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """Return a parameters file that declares the winner as `<study>_best`.

    Args:
        found: what `study.json` holds.
        parameters: of the experiment that was searched.
    """
    best, name = found["best"], f"{found['study']}_best"
    whole = with_values(parameters, best["values"])
    plain = {key: value for key, value in whole.items() if key not in LEFT_OUT}
    counted = ", ".join(f"{count} {state}" for state, count in found["states"].items())
    figure = found["monitor"].replace("val_", "validation ")
    changes = "\n".join(f"#   {key}: {value}" for key, value in best["values"].items())
    return (
        f"# Written by `kedro run --pipeline {found['study']}`: trial {best['trial']} of {found['total']} "
        f"({counted}).\n"
        f"# {figure} {best['value']:.6g}, the {'highest' if found['direction'] == 'maximize' else 'lowest'}; "
        f"{found['experiment']} with\n{changes}\n"
        f"# `kedro run --pipeline {name}` trains and tests it. The next run of the study writes this again: "
        "to keep it,\n# move it to conf/base under another name.\n"
        + yaml.safe_dump(
            {name: plain}, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110
        )
    )
