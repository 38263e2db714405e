"""Samples that cannot be read any more while a model is trained: passed over, counted, bounded."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from cv_pipelines.errors import SourceError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spare:
    """The list of them, a line a sample, which loader processes and resumed trainings share.

    Attributes:
        path: of the list.
        most: so many different samples may be on it.
    """

    path: Path
    most: int

    def note(self, sample_id: str, error: Exception) -> None:
        """Put a sample on the list.

        Raises:
            SourceError: there are more than may be; names the last one and the list.
        """
        known = self.known()
        if sample_id not in known:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            logger.warning("sample %s cannot be read, the next one stands in for it: %s", sample_id, reason)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf8") as file:  # one small write: whole, from any process
                file.write(f"{sample_id}\t{reason}\n")
            known |= {sample_id}
        if len(known) > self.most:
            raise SourceError(
                f"sample {sample_id} cannot be read ({error}); with it {len(known)} of the train split, "
                f"train.bad_samples allows {self.most}; they are listed in {self.path}"
            ) from error

    def known(self) -> set[str]:
        """Return the ids on the list."""
        if not self.path.exists():
            return set()
        return {line.split("\t")[0] for line in self.path.read_text(encoding="utf8").splitlines()}
