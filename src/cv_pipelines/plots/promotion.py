"""The page of a promotion: what was decided, every condition, and the comparison behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cv_pipelines.plots.compared import comparison_blocks
from cv_pipelines.plots.document import Block, Link, document, paragraphs, table
from cv_pipelines.plots.page import contract_table, tile

_SAID = {
    "promoted": "The challenger is the champion now.",
    "refused": "The challenger was refused; the champion stays what it was.",
    "unchanged": "The candidate is the champion already; nothing was changed.",
}


def promotion_page(decision: Mapping[str, Any]) -> str:
    """Return one HTML page of a decision; it needs no network.

    Args:
        decision: what `promotion.decide.promote` gave.
    """
    challenger, champion = decision["challenger"], decision["champion"]
    before = f"version {champion['number']} ({champion['experiment']})" if champion else "none"
    rows: list[list[Any]] = [
        ["challenger", f"version {challenger['number']}"],
        ["from", Link(challenger["experiment"], f"../{challenger['experiment']}/report.html")],
        ["champion before", before],
        ["decided", decision["at"]],
    ]
    headline = tile(decision["outcome"], decision["model"])
    checks = [
        [one["name"], "holds" if one["passed"] else "does not hold", one["told"]]
        for one in decision["checks"]
    ]
    blocks = [
        Block(
            "Decision",
            f'<div class="tiles">{headline}</div>'
            + paragraphs(_SAID[decision["outcome"]])
            + table(["", ""], rows),
        ),
        Block("Conditions", table(["condition", "", "what was measured and asked"], checks)),
    ]
    if decision["comparison"]:
        blocks += comparison_blocks(decision["comparison"])
    else:
        blocks.append(Block("What these numbers mean", contract_table(decision["contract"])))
    return document(f"{decision['promotion']}: {decision['outcome']}", decision["model"], blocks)
