"""The page of a study: how the search went, which parameters matter, and every trial."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
import pandas as pd
import plotly.graph_objects as go
from optuna import visualization
from plotly.colors import sample_colorscale

from cv_pipelines.config.study import StudyConfig, name_of
from cv_pipelines.plots.document import Section, document, figure_html, sections_html, table
from cv_pipelines.plots.leaderboard import duration
from cv_pipelines.plots.theme import COLORS, finite, no_data, number, plain, styled
from cv_pipelines.tuning.space import own_values
from cv_pipelines.tuning.tables import study_of

SHOWN = 500
"""Trials that the table lists at most."""

ROW = 3
"""Slices beside each other at most."""

_SHADES = ["#C5CFDC", "#5B87C0", "#123C75"]
"""From bad to good, or early to late; Optuna's own begin with white, which is not seen on white."""

_LINES = {
    "best": {"color": COLORS[1], "width": 3},
    "complete": {"color": COLORS[0], "width": 1.5},
    "pruned": {"color": COLORS[7], "width": 1.5, "dash": "dot"},
    "failed": {"color": COLORS[3], "width": 1.5, "dash": "dash"},
}

_HISTORY = "Each point is a trial that came to its end; the line is the best so far."
_IMPORTANCE = """\
How much of what makes a trial good lies in each parameter: PED-ANOVA (Watanabe et al. 2023) compares the \
good trials with all of them; the shares sum to 1. With few trials this is a hint, no proof: a parameter \
that was tried at few values cannot show what it does."""
_PARALLEL = "A line is a complete trial, from its score through its parameters. Good lines that run together \
show where to look closer."
_SLICE = "Every complete trial, by each parameter alone. Where the best lie at the end of a range, widen it."
_CURVES = (
    "The score after each epoch. A dotted line was ended early: others were better when they came as far."
)


def study_page(
    config: StudyConfig, trials: pd.DataFrame, found: Mapping[str, Any], parameters: Mapping[str, Any]
) -> str:
    """Return the report of a study as one HTML page that needs no network.

    Args:
        config: the study.
        trials: its table.
        found: what `study.json` holds.
        parameters: of the experiment that was searched.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study, score = study_of(config, trials, found["direction"]), _score_name(found)
    sections = [
        _best(config, trials, found, parameters),
        Section("History", _HISTORY, _drawn(f"{score.capitalize()} by trial", _history, study, score)),
        Section("Importance", _IMPORTANCE, _drawn("Importance of parameters", _importances, study, score)),
        Section("Parallel coordinates", _PARALLEL, _drawn("Complete trials", _parallel, study, score)),
        Section("Slices", _SLICE, None, _slices(study, score)),
        Section("Curves", _CURVES, _curves(trials, score, found["best"]["trial"])),
        Section("Trials", _counted(found), None, _trials(config, trials, found)),
    ]
    subtitle = f"Search over {found['experiment']} on {found['source']}, by {score} ({_counted(found)})"
    return document(found["study"], subtitle, sections_html(sections))


def _score_name(found: Mapping[str, Any]) -> str:
    return str(found["monitor"]).replace("val_", "validation ").replace("_", " ")


def _counted(found: Mapping[str, Any]) -> str:
    states = ", ".join(f"{count} {state}" for state, count in found["states"].items())
    return f"{sum(found['states'].values())} of {found['total']} trials: {states}"


def _best(
    config: StudyConfig, trials: pd.DataFrame, found: Mapping[str, Any], parameters: Mapping[str, Any]
) -> Section:
    """Show the winner beside what the experiment has, with the figure of each where it is known."""
    best, score = found["best"], _score_name(found)
    own = own_values(config.space, parameters) or {}
    before = trials[(trials["params"].map(json.loads) == own) & (trials["state"] == "complete")]["value"]
    head = ["", found["experiment"], f"trial {best['trial']}"]
    rows: list[list[Any]] = [[score, float(before.iloc[0]) if len(before) else "not tried", best["value"]]]
    rows += [[key, own.get(key, "not in the space"), name_of(value)] for key, value in best["values"].items()]
    text = (
        f"Trial {best['trial']} has the best {score}, {number(best['value'], 4)}. It is an experiment of its "
        f"own now: kedro run --pipeline {found['study']}_best trains and tests it.\n\n"
        "The score was searched for, so it flatters the winner: among many trials some are good by luck. "
        "The test split, which the search never saw, says how good it is."
    )
    if len(found["seeds"]) > 1:
        text += f" Scores are means over {len(found['seeds'])} seeds."
    return Section("Best", text, None, table(head, rows))


def _drawn(
    title: str, draw: Callable[[str, optuna.Study, str], go.Figure], study: optuna.Study, score: str
) -> go.Figure:
    """Draw one of Optuna's figures; where it has too little to draw, say so."""
    try:
        figure = draw(title, study, plain(score))
    except (ValueError, RuntimeError) as error:
        return no_data(title, str(error))
    return figure.update_layout(title_yref="container", width=None)


def _history(title: str, study: optuna.Study, score: str) -> go.Figure:
    figure = visualization.plot_optimization_history(study, target_name=score)
    figure.update_traces(selector={"mode": "markers"}, marker={"color": COLORS[0], "size": 8}, name="a trial")
    figure.update_traces(
        selector={"mode": "lines"}, line={"color": COLORS[1], "width": 2}, name="best so far"
    )
    figure.update_xaxes(title_text="trial", range=[-0.5, len(study.trials) - 0.5])
    framed, note = _frame(study)
    figure.update_yaxes(range=framed)
    return styled(figure, title, subtitle=note)


def _frame(study: optuna.Study) -> tuple[list[float] | None, str]:
    """Return the range of the scores without hopeless trials, which would flatten all others; and a note."""
    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    values = finite([trial.value for trial in done])
    if len(values) < 3:
        return None, ""
    middle, best = statistics.median(values), float(study.best_value)
    room = max(4 * abs(best - middle), 1e-9)
    kept = [value for value in values if abs(value - best) <= room]
    margin = 0.08 * (max(kept) - min(kept)) or 0.01
    left_out = len(values) - len(kept)
    note = (
        f"{left_out} far worse {'trial lies' if left_out == 1 else 'trials lie'} outside" if left_out else ""
    )
    return [min(kept) - margin, max(kept) + margin], note


def _importances(title: str, study: optuna.Study, score: str) -> go.Figure:
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(complete) < 2:
        raise ValueError("needs two complete trials")
    figure = visualization.plot_param_importances(study, target_name=score)
    figure.update_traces(marker_color=COLORS[0], textposition="outside", cliponaxis=False)
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title_text="share", rangemode="tozero")
    figure.update_yaxes(title_text="")
    return styled(figure, title, 150 + 42 * len(complete[0].params))


def _parallel(title: str, study: optuna.Study, score: str) -> go.Figure:
    figure = visualization.plot_parallel_coordinate(study, target_name=score)
    shades = _SHADES if study.direction == optuna.study.StudyDirection.MAXIMIZE else _SHADES[::-1]
    for line in figure.select_traces(selector={"mode": "lines"}):
        # The first axis is the score, 0 to 1 from the lowest to the highest.
        line.update(line={"color": sample_colorscale(shades, line.y[0])[0], "width": 2.5}, opacity=0.9)
    figure.update_traces(selector={"mode": "markers"}, marker={"colorscale": shades, "reversescale": False})
    figure.update_annotations(font_size=12, bgcolor="rgba(255, 255, 255, 0.7)")
    # Optuna cuts long names, though there is room for them.
    whole = {f"{key[:17]}...": key for key in study.best_params}
    names = [whole.get(name, name).replace(".", "<br>.") for name in figure.layout.xaxis.ticktext or ()]
    figure.update_xaxes(ticktext=names)
    return styled(figure, title, 480).update_layout(margin={"l": 90, "t": 90})


def _slices(study: optuna.Study, score: str) -> str:
    """Draw the scores by each parameter, a few beside each other."""
    keys = sorted({key for trial in study.get_trials(deepcopy=False) for key in trial.params})
    rows = math.ceil(len(keys) / ROW)
    size = math.ceil(len(keys) / max(rows, 1))
    parts = [keys[start : start + size] for start in range(0, len(keys), max(size, 1))]
    return "".join(
        figure_html(_drawn(", ".join(part), _slice(part), study, score), f"slices_{place}")
        for place, part in enumerate(parts)
    )


def _slice(keys: Sequence[str]) -> Callable[[str, optuna.Study, str], go.Figure]:
    def draw(title: str, study: optuna.Study, score: str) -> go.Figure:
        """Draw each of the parameters against the score."""
        figure = visualization.plot_slice(study, params=list(keys), target_name=score)
        figure.update_traces(marker={"size": 10, "colorscale": _SHADES})
        for axis in figure.select_xaxes(selector={"type": "log"}):
            axis.update(dtick=1, exponentformat="power")
        for axis in figure.select_xaxes(selector={"type": "category"}):
            # Optuna shows texts with their quotation marks.
            names = [str(name).strip("'") for name in axis.categoryarray or ()]
            axis.update(tickvals=list(axis.categoryarray or ()), ticktext=[plain(name, 24) for name in names])
        framed, note = _frame(study)
        figure.update_yaxes(range=framed)
        return styled(figure, title, 360, note)

    return draw


def _curves(trials: pd.DataFrame, score: str, best: int) -> go.Figure:
    """Draw the score of every trial against the epoch."""
    title = f"{score.capitalize()} by epoch"
    rows = trials[trials["epochs"] > 0]
    if rows.empty:
        return no_data(title, "no trial came to a validation")
    kinds = rows["state"].mask(rows["number"] == best, "best")
    figure, named = go.Figure(), set()
    for kind in ("failed", "pruned", "complete", "best"):
        for row in rows[kinds == kind].to_dict("records"):
            curve = {int(epoch): value for epoch, value in json.loads(row["curve"]).items()}
            figure.add_scatter(
                x=list(curve),
                y=list(curve.values()),
                mode="lines+markers",
                marker={"size": 4},
                line=_LINES[kind],
                name=kind,
                legendgroup=kind,
                showlegend=kind not in named,
                hovertemplate=f"trial {row['number']}, epoch %{{x}}: %{{y:.4g}}<extra></extra>",
            )
            named.add(kind)
    figure.update_xaxes(title_text="epoch", rangemode="tozero")
    figure.update_yaxes(title_text=plain(score))
    return styled(figure, title, 420)


def _trials(config: StudyConfig, trials: pd.DataFrame, found: Mapping[str, Any]) -> str:
    """List the trials, the best first; then the pruned and the failed ones."""
    lower = found["direction"] == "minimize"
    ranked = trials.assign(rank=trials["state"].map({"complete": 0, "pruned": 1, "failed": 2}))
    ranked = ranked.sort_values(["rank", "value", "number"], ascending=[True, lower, True])
    notes = any(trials["reason"].notna()) or any(trials["same_as"].notna())
    rows = []
    for row in ranked.to_dict("records"):
        same = "" if pd.isna(row["same_as"]) else f"same as trial {row['same_as']}"
        note = same if pd.isna(row["reason"]) else row["reason"]
        value = None if pd.isna(row["value"]) else float(row["value"])
        cells = [row["number"], row["state"], value, row["epochs"], duration(row["seconds"])]
        drawn = json.loads(row["params"])
        rows.append([*cells, *(drawn[key] for key in config.space), *([note] if notes else [])])
    head = ["trial", "", _score_name(found), "epochs", "time", *config.space, *(["note"] if notes else [])]
    return table(head, rows, SHOWN)
