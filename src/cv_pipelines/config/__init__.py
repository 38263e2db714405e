"""What a parameters file may say: pydantic models of a source and of an experiment.

Unknown keys and wrong types are refused before anything runs. What depends on a name (the options of a
reader, a model, an augmentation, a task's loss) is read off the signature of the function it names: its
keyword-only arguments are the options, so a new function needs no second list.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
)

from cv_pipelines.config.sections import AtMost, Positive, Share, Strict
from cv_pipelines.config.suppression import Suppression
from cv_pipelines.config.train import Train
from cv_pipelines.errors import ConfigError

Backend = Literal["pycocotools", "faster-coco-eval", "hotcoco"]
"""Programs that compute COCO's figures."""

ModelT = TypeVar("ModelT", bound=BaseModel)


class Named(BaseModel):
    """A section that names a registered function; every other key is one of its options.

    Attributes:
        name: of the function, as the key that holds this section knows it.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The keys beside `name`."""
        return dict(self.model_extra or {})


class SplitRule(Strict):
    """How a split is carved out of `train` where the source has none of its own.

    Attributes:
        by: `group` moves whole groups (subjects, videos); `sample` moves single samples.
        share: share of the samples that moves, 0 to 1.
    """

    by: Literal["group", "sample"] = "group"
    share: Share


class Sample(Strict):
    """A drawn sample in the reader's true format instead of the real data.

    Attributes:
        n: number of samples; the reader's own default if not given.
        size: width and height in pixels; only for images.
        seed: of the drawing.
        figures: what is drawn, where the reader can draw several kinds: `shapes`, `person` or `people`.
        objects: fewest and most in an image; the reader's own default if not given. Only for COCO.
    """

    n: Positive | None = None
    size: Annotated[list[Positive], Field(min_length=2, max_length=2)] | None = None
    seed: int = 0
    figures: Literal["shapes", "person", "people"] | None = None
    objects: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)] | None = None

    @field_validator("objects")
    @classmethod
    def _fewest_first(cls, objects: list[int] | None) -> list[int] | None:
        if objects is not None and objects[0] > objects[1]:
            raise ValueError("fewest come first, then most")
        return objects

    def noted(self) -> dict[str, Any]:
        """Return what is noted beside a drawn sample, which is drawn again when that changes."""
        return self.model_dump(exclude_none=True)


def _plain_name(name: str) -> str:
    if name != PurePath(name).name:
        raise ValueError("must be a file name without folders")
    return name


def _below(folder: str) -> str:
    if PurePath(folder).is_absolute() or ".." in PurePath(folder).parts:
        raise ValueError("must stay below the source's folder")
    return folder


class Archive(Strict):
    """One file that a data set is published as.

    Attributes:
        file: its name; a file of this name in the source's `root` or among its downloads is taken as it is.
        urls: HTTP addresses and local paths, tried in order; none where a person has to get the file.
        size: in bytes; None if it is not published.
        md5: hex digest.
        sha256: hex digest.
        into: folder, below the source's, that it is unpacked into; None keeps the file itself there.
        nested: it holds tar files, each of which is unpacked into a folder of its own name.
    """

    file: Annotated[str, AfterValidator(_plain_name)]
    urls: list[str] = Field(default_factory=list)
    size: Positive | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    into: Annotated[str, AfterValidator(_below)] | None = "."
    nested: bool = False


class Fetch(Strict):
    """Where a data set comes from when `root` does not hold it.

    Attributes:
        folder: where it is unpacked and read from; archives are kept in `<folder>.downloads`.
        archives: the files it is published as.
        ask: what a person has to do for archives without `urls` (a licence, a registration).
        attempts: failures in a row before the next address is tried.
        growth: how many times larger than the archive what is unpacked may be.
    """

    folder: str
    archives: Annotated[list[Archive], Field(min_length=1)]
    ask: str | None = None
    attempts: Positive = 6
    growth: Positive = 100


class Engine(Strict):
    """Where the files of a source are inspected.

    Attributes:
        backend: `threads` or `processes` of this machine, or a `dask` cluster, whose workers need the files
            under the same paths.
        workers: how many at a time; None for one a core. A running cluster has its own number.
        address: of a running cluster's scheduler, such as `tcp://host:8786`; None starts one on this machine.
    """

    backend: Literal["threads", "processes", "dask"] = "threads"
    workers: Positive | None = None
    address: str | None = None


class Limits(Strict):
    """What a source may show before whatever trains on it is refused; None for no limit.

    Attributes:
        dropped: largest share of the files and records met that may have been left out.
        repaired: largest share of the files and records met that may have been corrected.
        repeats: largest share of the samples that may repeat another one of their split, byte for byte.
        duplicates: largest share of the samples of a split that an earlier split may have, byte for byte.
        near_duplicates: largest share of the samples of a split that may look like one of an earlier split.
        shared_groups: largest share of the groups (subjects, videos) of a split that an earlier one may have.
        label_conflicts: largest share of the samples whose content may also occur with other classes.
        smallest_class: fewest train samples that each class must have.
        imbalance: most train samples of the largest class for each one of the smallest.
        drift: largest distance from an older version, 0 to 1; `kedro cv drift` measures it.
    """

    dropped: AtMost = None
    repaired: AtMost = None
    repeats: AtMost = None
    duplicates: AtMost = None
    near_duplicates: AtMost = None
    shared_groups: AtMost = None
    label_conflicts: AtMost = None
    smallest_class: Positive | None = None
    imbalance: Annotated[float, Field(ge=1)] | None = None
    drift: AtMost = None


class SourceConfig(Named):
    """A data set: where it lies and how it is read. Keys that are not listed are options of the reader.

    Attributes:
        reader: a key of `cv_pipelines.sources.READERS`.
        root: folder of the official tree; read-only. None for sources that come with a package.
        fetch: where the data come from if `root` does not hold them.
        sample: draw a sample under `root` first.
        validation: how `val` is made where the source has none.
        test: how `test` is made where the source has none.
        seed: of the splits.
        engine: where its files are inspected.
        check: `decode` decodes every image wholly; `headers` only looks up the sizes of JPEGs, for a first
            look at millions of them: broken ones and equal ones are not found.
        limits: what its data report may show at most.
    """

    name: str = ""
    reader: str
    root: str | None = None
    fetch: Fetch | None = None
    sample: Sample | None = None
    validation: SplitRule | None = None
    test: SplitRule | None = None
    seed: int = 0
    engine: Engine = Engine()
    check: Literal["decode", "headers"] = "decode"
    limits: Limits = Limits()


class Inputs(Strict):
    """What a sample looks like when it reaches the model.

    Attributes:
        size: height and width that images are resized to; None keeps them as they are.
        normalize: `dataset` takes mean and deviation of the train split, `packaged` those of the packaged
            ImageNet weights ((x - 127) / 128), `half` maps 0..255 to -1..1.
        labels_per_class: train on so many labelled samples a class only (None: all).
    """

    size: Annotated[list[Positive], Field(min_length=2, max_length=2)] | None = None
    normalize: Literal["dataset", "packaged", "half"] = "dataset"
    labels_per_class: Positive | None = None


class Cache(Strict):
    """Decoded images kept on the disk for training, so that each file is decoded once.

    Attributes:
        side: larger images are kept scaled down to this shorter side, in pixels; None keeps all pixels.
        gigabytes: the most that the cache of the source may take, in 10⁹ bytes.
    """

    side: Positive | None = None
    gigabytes: Annotated[float, Field(gt=0)] = 50.0


class Evaluate(Strict):
    """What is scored.

    Attributes:
        split: `test` for the figure that is reported, `val` while choosing, `train` to see whether a model
            can learn its own samples by heart, which says nothing of how good it is.
        protocol: `coco` or `voc` for detection; `standard` elsewhere.
        batch_size: samples a prediction step; that of training if not given.
        flip: average predictions with those of the mirrored image; for images.
        scales: average predictions at these factors of the image size; for classification, segmentation.
        fuse_iou: overlap above which two boxes are one when detections are fused: those of the mirrored
            image, or those of the members of an ensemble (Solovyev et al. 2021).
        suppression: how one is chosen among overlapping detections of an object, after the model's own
            choice, which its options can switch off; None leaves it at that.
        validation_backend: which program scores detections while training; a faster one gives the same
            figures. Those that are reported are always pycocotools'.
        score_threshold: detections with a lower score are not counted in the score of an image and in the
            area figures; no average precision depends on it.
        keypoint_sigma: how far people's marks of a keypoint differ, as a share of the object's scale; for
            poses of other than COCO's 17 keypoints, each of which has its own (from 0.025, eyes, to 0.107,
            hips).
    """

    split: Literal["train", "val", "test"] = "test"
    protocol: Literal["standard", "coco", "voc"] = "standard"
    batch_size: Positive | None = None
    flip: bool = False
    scales: list[Annotated[float, Field(gt=0, le=4)]] = Field([1.0], min_length=1)
    fuse_iou: Share = 0.55
    suppression: Suppression | None = None
    validation_backend: Backend = "pycocotools"
    score_threshold: Share = 0.3
    keypoint_sigma: Share = 0.05


class Group(Strict):
    """Experiments that are compared on one page, and make a pipeline of the group's name.

    Attributes:
        name: of the group.
        panels: what this experiment is called in which panels of the page: within a panel, experiments differ
            in one thing.
    """

    name: str
    panels: Annotated[dict[str, str], Field(min_length=1)]


def _as_list(value: Any) -> Any:
    """Let one entry stand for a list of one, and null for an empty one."""
    return [] if value is None else [value] if isinstance(value, dict) else value


class ExperimentConfig(Strict):
    """One experiment: a model of a task on a source.

    Attributes:
        task: a key of `cv_pipelines.tasks.TASKS`.
        source: the name of a source.
        model: a key of `cv_pipelines.models.MODELS` and its options.
        init_weights: a key of `cv_pipelines.models.initialisation.INITIALISERS` and its options; None leaves
            each layer as PyTorch or the model's paper starts it.
        init_from: an experiment whose checkpoint gives the encoder's first weights.
        tour: whether it belongs to the tour, on embedded data.
        group: the comparison it belongs to; None for none.
        embedder: an experiment whose checkpoint embeds images (GAN scores).
        inputs: size, normalisation, number of labels.
        cache: keeps decoded images for training; None decodes them each time.
        augment: keys of `cv_pipelines.data.augment.AUGMENTS` and their options, in order, or one alone.
        loss: options of the task's loss.
        train: how it is fitted.
        evaluate: what is scored.
    """

    task: str
    source: str
    model: Named
    init_weights: Named | None = None
    init_from: str | None = None
    tour: bool = False
    group: Group | None = None
    embedder: str | None = None
    inputs: Inputs = Inputs()
    cache: Cache | None = None
    augment: Annotated[list[Named], BeforeValidator(_as_list)] = Field(default_factory=list)
    loss: dict[str, Any] = Field(default_factory=dict)
    train: Train
    evaluate: Evaluate = Evaluate()


def options_model(function: Callable[..., Any]) -> type[BaseModel]:
    """Make a pydantic model of a function's keyword-only arguments."""
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints.get(name, Any), ... if p.default is inspect.Parameter.empty else p.default)
        for name, p in inspect.signature(function).parameters.items()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    }
    return create_model("Options", __config__=ConfigDict(extra="forbid", strict=True), **fields)


def check_options(where: str, function: Callable[..., Any], options: dict[str, Any]) -> None:
    """Check options against a function's keyword-only arguments.

    Args:
        where: file and key, for the message.
        function: whose keyword-only arguments are allowed.
        options: what the parameters file says.

    Raises:
        ConfigError: an option is unknown or has a value that is not allowed.
    """
    model = options_model(function)
    try:
        model.model_validate(options)
    except ValidationError as error:
        raise ConfigError(explain(where, error, list(model.model_fields))) from None


def parse(where: str, model: type[ModelT], values: Any) -> ModelT:
    """Validate one top-level section of a parameters file.

    Raises:
        ConfigError: names file, key, value and what is allowed.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(where, error, list(model.model_fields))) from None


def explain(where: str, error: ValidationError, allowed: list[str]) -> str:
    """Say in a line per defect what is wrong and what is allowed."""
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            depth = len(item["loc"]) == 1
            known = f"; allowed are {', '.join(sorted(allowed))}" if depth else ""
            lines.append(f"{where}: {key}: unknown key (value {item['input']!r}){known}")
        else:
            lines.append(f"{where}: {key}: {item['msg']} (value {item['input']!r})")
    return "\n".join(lines)
