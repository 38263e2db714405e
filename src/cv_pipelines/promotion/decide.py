"""Whether a challenger becomes champion: every condition, the decision, and the move of the alias."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cv_pipelines.comparing.compare import compare
from cv_pipelines.comparing.results import Results
from cv_pipelines.config.promotion import PromotionConfig
from cv_pipelines.data.datasets import SourceData
from cv_pipelines.errors import CheckpointError, ComparisonError, ContractError
from cv_pipelines.promotion import gate
from cv_pipelines.promotion.evaluate import Loaded, latency, load, scored
from cv_pipelines.promotion.gate import Check
from cv_pipelines.promotion.registry import Nominee, Registry, Version
from cv_pipelines.promotion.serving import serves
from cv_pipelines.training.checkpoints import Checkpoint, save_checkpoints
from cv_pipelines.training.ensemble import class_lists
from cv_pipelines.training.leaderboard import main_score
from cv_pipelines.training.score import clean


@dataclass(frozen=True)
class Candidate:
    """A trained and scored experiment.

    Attributes:
        experiment: its name.
        device: that it is used on, as in `train.device`.
        checkpoints: its models, a seed each; the first one is the candidate.
        metrics: `metrics.json`.
    """

    experiment: str
    device: str
    checkpoints: dict[int, Checkpoint]
    metrics: dict[str, Any]

    @property
    def model(self) -> str:
        """The registered model that it wants to be: one a task and source."""
        return f"{self.metrics['task']}.{self.metrics['contract']['source']}"

    @property
    def values(self) -> dict[str, float | None]:
        """Figures of the one seed."""
        found: dict[str, float | None] = self.metrics["seeds"][str(next(iter(self.checkpoints)))]
        return found


def promote(
    name: str,
    config: PromotionConfig,
    candidate: Candidate,
    data: SourceData,
    facts: dict[str, Any],
    registry: Registry,
) -> dict[str, Any]:
    """Register a candidate, decide, and move the alias if all conditions hold.

    Args:
        name: of the promotion.
        config: its conditions.
        candidate: what was trained.
        data: its prepared source, all splits, with statistics.
        facts: of the source.
        registry: of models.

    Returns:
        The decision; see docs/promote.md.
    """
    model = registry.prefix + candidate.model
    with tempfile.TemporaryDirectory() as place, registry.locked(model):
        folder = Path(place)
        version = registry.nominate(_nominee(model, candidate, data, config.serve, folder / "candidate"))
        while True:
            rival = registry.champion(model)
            decision = _decide(config, candidate, version, rival, data, facts, registry, folder)
            # a machine that does not share the lock may have been quicker: then all is decided anew
            if decision["outcome"] != "promoted" or registry.crown(version, rival):
                break
    decision = {"promotion": name, "at": datetime.now(UTC).isoformat(timespec="seconds"), **decision}
    why = "; ".join(check["told"] for check in decision["checks"] if not check["passed"])
    tags = {"promotion": name, "decision": decision["outcome"], "reason": why[:4000]}
    registry.note(version, tags)
    return clean(decision)


def _nominee(model: str, candidate: Candidate, data: SourceData, served: bool, folder: Path) -> Nominee:
    seed, checkpoint = next(iter(candidate.checkpoints.items()))
    save_checkpoints(folder, {seed: checkpoint})
    return Nominee(model, folder, checkpoint, data, served)


def _decide(
    config: PromotionConfig,
    candidate: Candidate,
    version: Version,
    rival: Version | None,
    data: SourceData,
    facts: dict[str, Any],
    registry: Registry,
    folder: Path,
) -> dict[str, Any]:
    """Check one condition after the other; those that need what a failed one gives are left out."""
    said: dict[str, Any] = {
        "model": version.model,
        "challenger": asdict(version),
        "champion": asdict(rival) if rival else None,
        "conditions": config.model_dump(),
        "contract": candidate.metrics["contract"],
        "comparison": None,
    }
    if rival is not None and rival.number == version.number:
        return said | {"outcome": "unchanged", "checks": []}
    judge = Judge(config, data, facts, registry, folder)
    checks, challenger = judge.challenger(candidate, version)
    if challenger is not None and rival is not None:
        against, said["comparison"] = judge.against(challenger, rival, candidate.device)
        checks += against
    outcome = "promoted" if all(check.passed for check in checks) else "refused"
    return said | {"outcome": outcome, "checks": [asdict(check) for check in checks]}


@dataclass(frozen=True)
class Judge:
    """What conditions are checked with.

    Attributes:
        config: the conditions.
        data: the prepared source, all splits.
        facts: of the source.
        registry: of models.
        folder: for files of the registry.
    """

    config: PromotionConfig
    data: SourceData
    facts: dict[str, Any]
    registry: Registry
    folder: Path

    def challenger(self, candidate: Candidate, version: Version) -> tuple[list[Check], Results | None]:
        """Check the challenger alone; return its results where it loads."""
        never = f"version {version.number} was champion and was rolled back: train another one"
        fresh = Check("not rolled back", not version.withdrawn, never if version.withdrawn else "never was")
        try:
            files, loaded = self._load(version, candidate.device)
        except CheckpointError as error:
            return [fresh, Check("loads", False, str(error))], None
        results = scored(f"challenger ({candidate.experiment})", loaded, self.data, self.facts)
        limits = self.config
        checks = [
            fresh,
            Check("loads", True, f"version {version.number}, read back from the registry"),
            gate.same_numbers(
                candidate.values, results.metrics["values"], limits.tolerance, self._metric(results)
            ),
            gate.budget("size", loaded.megabytes, limits.megabytes, "MB"),
            gate.budget("latency", latency(loaded, self.data, limits.timings), limits.latency_ms, "ms"),
        ]
        if limits.serve:
            checks.append(serves(loaded, self.data, lambda *asked: self.registry.answers(files, *asked)))
        return checks, results

    def against(
        self, challenger: Results, rival: Version, device: str
    ) -> tuple[list[Check], dict[str, Any] | None]:
        """Check the challenger against the champion, both scored on the data as they are now."""
        try:
            _, loaded = self._load(rival, device)
        except CheckpointError as error:
            return [Check("champion loads", False, f"{error}; roll it back")], None
        known, now = class_lists(loaded.checkpoint.meta.categories), class_lists(self.data.categories)
        if known != now:
            told = f"version {rival.number} knows other classes than the source has now: {known} and {now}"
            return [Check("same contract", False, told)], None
        champion = scored(f"champion ({rival.experiment})", loaded, self.data, self.facts)
        metric = self._metric(challenger)
        part = self.data.only(challenger.metrics["contract"]["split"])
        try:
            found = compare(champion, challenger, part, metric, self.config.bootstrap, self.config.minimum)
        except ContractError as error:
            return [Check("same contract", False, str(error))], None
        except ComparisonError as error:
            return [Check("comparable", False, str(error))], None
        same = Check("same contract", True, "both scored alike")
        return [same, gate.better(self.config, found), *gate.slices(self.config, found)], found

    def _metric(self, results: Results) -> str:
        """Name the figure that decides."""
        return self.config.metric or main_score(results.metrics)[0]

    def _load(self, version: Version, device: str) -> tuple[Path, Loaded]:
        files = self.registry.fetch(version, self.folder / f"version_{version.number}")
        return files, load(self.registry.checkpoint(files), device)
