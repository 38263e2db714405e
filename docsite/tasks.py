"""A reference page a task: loss, predictions, scores, and the experiments that do it."""

from __future__ import annotations

from typing import Any

from cv_pipelines.data.augment import AUGMENTS
from cv_pipelines.tasks import MAIN_SCORES, TASKS, task_class
from docsite.declared import declared
from docsite.docstrings import docstring_of
from docsite.markdown import fenced, page, sentence, table
from docsite.options import options_of


def pages() -> dict[str, str]:
    """Make the pages: path below the reference to text."""
    rows = [
        (f"[`{name}`]({name}.md)", docstring_of(task_class(name)).summary, f"`{MAIN_SCORES[name]}`")
        for name in TASKS
    ]
    index = page(
        "Tasks",
        "What a model is trained to do. All scores by name: [scores](../../experiments.md#scores).",
        table(("task", "what is learned", "score in tables"), rows),
    )
    return {"tasks/index.md": index} | {f"tasks/{name}.md": _page(name) for name in TASKS}


def _page(name: str) -> str:
    task: Any = task_class(name)
    said = docstring_of(task)
    better = "higher" if task.higher_is_better else "lower"
    chosen = f"`{task.monitor}`, {better} is better" if task.validates else "none: the last epoch counts"
    facts = [
        ("target of a sample", task.target),
        ("score in tables", f"`{MAIN_SCORES[name]}`"),
        ("validation figure that chooses the epoch", chosen),
        ("ensembles", "no: " + task.no_ensemble if task.no_ensemble else sentence(said_by(task, "fuse"))),
    ]
    own = [one for one in declared("experiments") if one.task == name]
    models = ", ".join(f"[`{model}`](../models.md#{model})" for model in _models(own))
    augments = ", ".join(
        f"[`{a}`](../augmentations.md#{a})" for a, (_, tasks) in AUGMENTS.items() if name in tasks
    )
    return page(
        f"Task `{name}`",
        said.summary,
        said.body,
        table(("", ""), facts),
        f"## Loss\n\n{options_of(task.__init__, task)}",
        f"## Predictions\n\n{said_by(task, 'rows_of') or said_by(task, 'predict_rows')}",
        f"## Scores\n\n{said_by(task, 'score')} All of them: [scores](../../experiments.md#scores).",
        f"## Models\n\n{models or 'None yet.'}",
        f"## Augmentations\n\n{augments or 'None.'}",
        f"## Experiments\n\n{_experiments(own)}",
    )


def said_by(task: Any, method: str) -> str:
    """Return what a task's own method says of itself; of one that it inherits, what its parent's says."""
    owner = next(one for one in task.__mro__ if method in vars(one))
    if owner.__name__ == "Task":
        return ""
    said = docstring_of(getattr(owner, method))
    return f"{said.summary} {said.body}".strip()


def _models(experiments: list[Any]) -> list[str]:
    return sorted({one.values["model"]["name"] for one in experiments})


def _experiments(experiments: list[Any]) -> str:
    rows = [(f"`{one.name}`", f"`{one.values['source']}`", f"`{one.path}`") for one in experiments]
    example = next(
        (one for one in experiments if one.values.get("tour")), experiments[0] if experiments else None
    )
    shown = f"\n\nFor example:\n\n{fenced(example.text, 'yaml')}" if example else ""
    return table(("experiment", "source", "file"), rows) + shown
