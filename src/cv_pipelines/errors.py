"""The typed errors a user can meet: each message says what is wrong, where, and what was expected."""

from __future__ import annotations


class CvPipelinesError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigError(CvPipelinesError):
    """A parameters file holds an unknown key or a value that is not allowed."""


class SourceError(CvPipelinesError):
    """A data set is missing, or nothing usable is left of it; names the file and what was expected."""


class FetchError(SourceError):
    """An archive cannot be had, is not what was published, or is not safe to unpack; names it and why."""


class BadSampleError(CvPipelinesError):
    """One file or record is unusable: the reader turns it into a quarantine row and goes on."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[BadSampleError], tuple[str, str]]:
        """Travel between processes with both parts."""
        return type(self), (self.reason, self.detail)


class SampleError(SourceError):
    """A sample that could be read when its source was cannot be read any more; names it and its file."""


class LeakageError(CvPipelinesError):
    """Two of our own splits share a group (subject, video, …) or the same content."""


class DataLimitError(CvPipelinesError):
    """A source shows more defects than its `limits` allow; names each, its value and its limit."""

    def __init__(self, told: str, source: str = "") -> None:
        super().__init__(f"{source}: {told}" if source else told)
        self.told = told
        self.source = source

    def __reduce__(self) -> tuple[type[DataLimitError], tuple[str, str]]:
        """Travel between processes with both parts."""
        return type(self), (self.told, self.source)


class CacheError(CvPipelinesError):
    """Decoded images do not fit into the packed cache; names what they take and what there is."""


class CheckpointError(CvPipelinesError):
    """A checkpoint folder is missing, incomplete, or does not fit the experiment."""


class ContractError(CvPipelinesError):
    """Models that are put together or compared were scored under contracts that differ; names the fields."""


class ComparisonError(CvPipelinesError):
    """Saved results cannot be compared: missing, not of the data as they are now, or nothing pairs them."""


class LaunchError(CvPipelinesError):
    """Processes that train together cannot meet, or died too often; the training can be taken up."""


class LoaderError(CvPipelinesError):
    """A loader process died, most often killed by the system for its memory; the training can be taken up."""


class ReproductionError(CvPipelinesError):
    """A run cannot be run again: what it was made from is not known or not there, or the run fails."""


class StudyError(CvPipelinesError):
    """A search cannot go on: its storage is of another study or cannot be reached, or its trials fail."""


class RegistryError(CvPipelinesError):
    """The registry of models cannot be reached, refuses, or has nothing to roll back."""


class PromotionRefusedError(CvPipelinesError):
    """A candidate does not meet the conditions of its promotion; names each one that does not hold."""


class InputError(CvPipelinesError):
    """What a model is to predict is missing or not of its kind, or its results cannot be kept there."""


class ExportError(CvPipelinesError):
    """A model cannot be exported, or the exported file says something else than the model."""


class RetrainingError(CvPipelinesError):
    """A step of a retraining cannot begin, or git or GitHub refuse what it asks; names the command."""


class AnchorError(ConfigError):
    """Anchors fit the boxes that a detector is to learn badly or not at all; names the best recall."""
