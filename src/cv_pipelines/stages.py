"""DVC's stages of the project, written from its parameters files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

HEADER = """\
# Written by `kedro cv dvc` from conf/base/parameters: do not edit, run that command again instead.
# `dvc repro tour` brings the tour up to date, `dvc repro NAME` one experiment and what it needs.
"""
SOURCE_CODE = [
    *("config/__init__.py", "config/sections.py", "data", "pipelines/ingest", "pipelines/prepare", "sources"),
]
# Drawing code is left out: a changed figure must not train a model again.
EXPERIMENT_CODE = [
    *("config", "data", "metrics", "models", "pipelines/evaluate", "pipelines/train", "tasks", "training"),
]
ENSEMBLE_CODE = ["config", "data", "metrics", "models", "pipelines/ensemble", "tasks", "training"]
COMPARISON_CODE = [
    "models/origins.py",
    "pipelines/compare",
    "plots/comparison.py",
    "plots/ladder.py",
    "training/costs.py",
]
FIGURES = [
    *("curves.json", "details.json", "error_kinds.json", "error_slices.json", "errors.html", "errors.json"),
    *("gallery.json", "report.html", "score_figure.json"),
]
ENSEMBLE_FIGURES = ["members.json", *FIGURES[1:]]
DRIFT_TABLES = ["annotations.parquet", "categories.json", "quarantine.parquet"]
SOURCE_TABLES = ["annotations.parquet", "arrays", "categories.json"]
WITHOUT_EFFECT = {"engine", "limits"}
"""Keys of a source that change nothing that is trained on it."""

Section = tuple[str, dict[str, Any]]
Stage = dict[str, Any]


def dvc_yaml(conf: Path) -> str:
    """Return the text of dvc.yaml.

    Only `conf/base` counts: what lies in `conf/local` is not in git, so a stage of it would break for others.
    Studies have no stage: they depend on what their storage already holds, on whatever machine.
    """
    sources, experiments = declared(conf, "sources"), declared(conf, "experiments")
    stages: dict[str, Stage] = {}
    for name, section in sources.items():
        tracked = tracked_raw(conf.parent, section[1])
        if needs_raw(section[1]) and not tracked:
            stages[f"raw_{name}"] = raw_stage(name, section)
        stages[f"data_{name}"] = source_stage(name, section, tracked)
        if gated(section[1]):
            stages[f"drift_{name}"] = drift_stage(name, section)
    for name, section in experiments.items():
        stages[name] = experiment_stage(name, section, sources[section[1]["source"]])
    for name, section in declared(conf, "ensembles").items():
        stages[name] = ensemble_stage(name, section, experiments, sources)
    for group, members in groups(experiments).items():
        stages[group] = comparison_stage(group, members, sources)
    stages["tour"] = tour_stage([name for name, (_, values) in experiments.items() if values.get("tour")])
    return HEADER + yaml.safe_dump({"stages": stages}, sort_keys=False, width=200)


def declared(conf: Path, kind: str) -> dict[str, Section]:
    """Return each name in `conf/base/parameters/<kind>` with its file (from the project) and section."""
    found = {}
    for path in sorted((conf / "base" / "parameters" / kind).glob("*.yml")):
        file = path.relative_to(conf.parent).as_posix()
        for name, values in (yaml.safe_load(path.read_text(encoding="utf8")) or {}).items():
            found[name] = (file, values)
    return found


def needs_raw(source: dict[str, Any]) -> bool:
    """Whether a source is read from files that somebody has to provide."""
    return bool(source.get("root")) and "sample" not in source


def tracked_raw(project: Path, source: dict[str, Any]) -> str | None:
    """Return the path, from the project, of a source's raw folder where DVC tracks it; None where not.

    DVC does so after `dvc add` of the folder or of one above it below data/01_raw.
    """
    folder = Path(str(source.get("root")).replace("${globals:raw}", "data/01_raw"))
    above = [path for path in (folder, *folder.parents) if path.is_relative_to("data/01_raw")]
    return folder.as_posix() if any((project / f"{path}.dvc").exists() for path in above) else None


def gated(source: dict[str, Any]) -> bool:
    """Whether a source may not drift further from the version before than its `limits.drift`."""
    return (source.get("limits") or {}).get("drift") is not None


def accepted(source: str) -> str:
    """Return the folder, from the project, of a source's tables as they were accepted last."""
    return f"data/05_model_input/{source}.accepted"


def shaping(source: str, values: dict[str, Any]) -> list[str]:
    """Return the keys of a source that may change what is trained on it; a new limit trains nothing."""
    return [f"{source}.{key}" for key in values if key not in WITHOUT_EFFECT]


def raw_note(source: str) -> str:
    """Return the path, from the project, of the note on a source's raw files."""
    return f"data/02_intermediate/{source}.files.json"


def raw_stage(name: str, section: Section) -> Stage:
    """Look at a source's raw files every time: hashing them would read whole data sets, listing is quick."""
    return {
        "cmd": f"kedro cv raw {name}",
        "params": [{section[0]: [f"{name}.root"]}],
        "outs": [{raw_note(name): {"cache": False}}],
        "always_changed": True,
    }


def source_stage(name: str, section: Section, tracked: str | None) -> Stage:
    """Raw files to manifest, statistics and data report; kept tables spare the next ingest its work."""
    file, values = section
    raw = [tracked] if tracked else [raw_note(name)] if needs_raw(values) else []
    outs: list[Any] = [{f"data/02_intermediate/{name}": {"persist": True}}]
    if "sample" in values:
        outs.insert(0, {values["root"].replace("${globals:drawn}", "data/01_raw"): {"persist": True}})
    return {
        "cmd": f"kedro run --pipeline data_{name}",
        "params": [{file: [name]}],
        "deps": code(SOURCE_CODE) + raw,
        "outs": [*outs, f"data/05_model_input/{name}", f"data/08_reporting/data_{name}"],
    }


def drift_stage(name: str, section: Section) -> Stage:
    """Compare tables with the version that was accepted last; if they pass, they are that version."""
    return {
        "cmd": f"kedro cv drift {name}",
        "params": [{section[0]: [f"{name}.limits.drift"]}],
        "deps": [
            *code(["data/drift.py"]),
            *(f"data/02_intermediate/{name}/{table}" for table in DRIFT_TABLES),
            f"data/05_model_input/{name}",
        ],
        "outs": [{accepted(name): {"persist": True}}, f"data/08_reporting/drift_{name}"],
    }


def experiment_stage(name: str, section: Section, source: Section) -> Stage:
    """Manifest to report, without the data stages; the models folder is kept so that a training resumes."""
    file, values = section
    data = values["source"]
    tables = [f"data/02_intermediate/{data}/{table}" for table in SOURCE_TABLES]
    started = [values[key] for key in ("init_from", "embedder") if values.get(key)]
    report = f"data/08_reporting/{name}"
    return {
        "cmd": f"kedro run --pipeline {name} --namespaces {name}",
        "params": [{file: [name]}, {source[0]: shaping(data, source[1])}],
        "deps": [
            *code(EXPERIMENT_CODE),
            *tables,
            f"data/05_model_input/{data}",
            *([accepted(data)] if gated(source[1]) else []),
            *(f"data/06_models/{other}/checkpoint" for other in started),
        ],
        "outs": [
            {f"data/06_models/{name}": {"persist": True}},
            f"data/07_model_output/{name}",
            *(f"{report}/{file}" for file in FIGURES),
        ],
        "metrics": [f"{report}/metrics.json"],
    }


def ensemble_stage(
    name: str, section: Section, experiments: dict[str, Section], sources: dict[str, Section]
) -> Stage:
    """Checkpoints and scores of the members to the report of an ensemble."""
    file, values = section
    members = {member: experiments[member] for member in values["members"]}
    data = members[values["members"][0]][1]["source"]
    keys: dict[str, list[str]] = {file: [name]}
    for member, one in members.items():
        keys.setdefault(one[0], []).append(member)
    keys.setdefault(sources[data][0], []).extend(shaping(data, sources[data][1]))
    report = f"data/08_reporting/{name}"
    return {
        "cmd": f"kedro run --pipeline {name} --namespaces {name}",
        "params": [{path: names} for path, names in keys.items()],
        "deps": [
            *code(ENSEMBLE_CODE),
            *(f"data/02_intermediate/{data}/{table}" for table in SOURCE_TABLES),
            f"data/05_model_input/{data}",
            *(f"data/06_models/{member}/checkpoint" for member in members),
            *(f"data/08_reporting/{member}/metrics.json" for member in members),
        ],
        "outs": [f"data/07_model_output/{name}", *(f"{report}/{figure}" for figure in ENSEMBLE_FIGURES)],
        "metrics": [f"{report}/metrics.json"],
    }


def groups(experiments: dict[str, Section]) -> dict[str, dict[str, Section]]:
    """Return the experiments of each group by name, in order."""
    found: dict[str, dict[str, Section]] = {}
    for name, section in sorted(experiments.items()):
        if section[1].get("group"):
            found.setdefault(section[1]["group"]["name"], {})[name] = section
    return dict(sorted(found.items()))


def comparison_stage(group: str, members: dict[str, Section], sources: dict[str, Section]) -> Stage:
    """Models, curves and scores of a group to its page; drawing code counts, for nothing is trained by it."""
    keys: dict[str, list[str]] = {}
    for name, (file, _) in members.items():
        keys.setdefault(file, []).append(name)
    read = sorted({values["source"] for _, values in members.values()})
    for source in read:
        file, values = sources[source]
        keys.setdefault(file, []).extend(shaping(source, values))
    return {
        "cmd": f"kedro run --pipeline {group} --namespaces {group}",
        "params": [{path: names} for path, names in keys.items()],
        "deps": [
            *code(COMPARISON_CODE),
            *(f"data/02_intermediate/{source}/{table}" for source in read for table in SOURCE_TABLES),
            *(f"data/05_model_input/{source}" for source in read),
            *(
                f"data/06_models/{name}/{file}"
                for name in members
                for file in ("checkpoint", "history.parquet")
            ),
            *(f"data/08_reporting/{name}/metrics.json" for name in members),
        ],
        "outs": [f"data/08_reporting/{group}/{file}" for file in ("comparison.html", "costs.json")],
    }


def tour_stage(experiments: list[str]) -> Stage:
    """Gather the tour's results in the leaderboard once they are up to date."""
    return {
        "cmd": "kedro cv results",
        "deps": [f"data/08_reporting/{name}/metrics.json" for name in experiments],
    }


def code(parts: list[str]) -> list[str]:
    """Return paths, from the project, of parts of the package."""
    return [f"src/cv_pipelines/{part}" for part in parts]
