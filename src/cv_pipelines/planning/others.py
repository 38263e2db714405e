"""The steps of what builds on experiments: comparisons, studies, promotions."""

from __future__ import annotations

from pathlib import Path

from cv_pipelines.planning.steps import Step, judged

ALWAYS = {
    "study": "a search goes on from what its storage holds",
    "promotion": "a promotion decides anew each time",
}


def page_steps(name: str, page: Path, above: list[Step]) -> list[Step]:
    """Plan a page that compares experiments."""
    scored = [step for step in above if step.name == "score"]
    state, reasons = judged([] if page.exists() else ["not drawn yet"], scored)
    return [Step(name, "compare", state=state, reasons=reasons)]


def always_steps(name: str, kind: str) -> list[Step]:
    """Plan what is never up to date.

    Args:
        name: of it.
        kind: a key of `ALWAYS`.
    """
    return [Step(name, kind, state="run", reasons=[ALWAYS[kind]])]
