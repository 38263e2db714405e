"""Wrong parameters: the message names the file, the key, the value and what is allowed."""

import sys
from pathlib import Path

import pytest
import yaml

from cv_pipelines.config import Evaluate
from cv_pipelines.errors import ConfigError
from cv_pipelines.training.validation import check_ensemble, check_evaluate, check_experiment, check_source

WHERE = "conf/base/parameters/experiments/x.yml: x"
SOURCES = ["digits", "sample_voc"]
CONF = Path(__file__).parents[2] / "conf" / "base" / "parameters"


ACTIVITY = {"task": "activity", "model": {"name": "inception_1d"}, "augment": None}


def values(**changes):
    base = {
        "task": "classification",
        "source": "digits",
        "model": {"name": "residual_cnn", "channels": [4, 8]},
        "augment": {"name": "small_image", "padding": 2},
        "loss": {"label_smoothing": 0.1},
        "train": {"epochs": 1, "batch_size": 2, "optimizer": {"lr": 0.1}},
    }
    return base | changes


def train(**changes):
    return {"train": values()["train"] | changes}


def test_a_right_one_passes():
    config = check_experiment(WHERE, values(), SOURCES)
    assert config.model.options == {"channels": [4, 8]}
    assert config.train.optimizer.name == "adamw"


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"task": "clasification"}, ["task", "'clasification'", "activity, autoencoder, classification"]),
        ({"source": "digit"}, ["source", "'digit'", "digits, sample_voc"]),
        (
            {"model": {"name": "resnet"}},
            ["model.name", "'resnet'", "residual_cnn, retinanet, rt_detr, sliding_window, ssd"],
        ),
        ({"model": {}}, ["model.name", "Field required"]),
        (
            {"model": {"name": "residual_cnn", "chanels": [4]}},
            ["model: chanels: unknown key", "[4]", "allowed are blocks, channels, dropout, norm"],
        ),
        ({"model": {"name": "residual_cnn", "blocks": "two"}}, ["model: blocks", "'two'", "integer"]),
        ({"model": {"name": "residual_cnn", "blocks": "2"}}, ["model: blocks", "'2'", "integer"]),
        ({"model": {"name": "residual_cnn", "channels": [4, "8"]}}, ["model: channels.1", "'8'"]),
        (
            {"model": {"name": "efficientnet_lite0", "weights": "imagenet"}},
            ["weights", "'packaged' or 'none'"],
        ),
        ({"model": {"name": "fcos", "width": 48}}, ["model: width", "multiple of 32", "48"]),
        ({"augment": {"name": "smal"}}, ["augment.name", "'smal'", "amplitude, aug_mix, blur, boxes"]),
        (
            {"augment": {"name": "small_image", "shear": 3}},
            ["augment: shear: unknown key", "3", "erase, flip, padding, rotation"],
        ),
        ({"augment": {"name": "photo"}}, ["augment: size", "Field required"]),
        ({"augment": {"name": "crop", "size": [8]}}, ["augment: size", "at least 2", "[8]"]),
        ({"augment": {"name": "mirror", "p": 1.5}}, ["augment: p", "less than or equal to 1", "1.5"]),
        ({"augment": {"name": "copy_paste"}}, ["'copy_paste' does not fit task classification", "mixup"]),
        ({"loss": {"gamma": 2.0}}, ["loss: gamma: unknown key", "2.0", "allowed are label_smoothing"]),
        ({"loss": {"label_smoothing": "much"}}, ["loss: label_smoothing", "'much'"]),
        (
            {"optimiser": {}},
            ["optimiser: unknown key", "augment, cache, embedder, evaluate, group, init_from, init_weights"],
        ),
        (train(epochs=0), ["train.epochs", "greater than 0", "value 0"]),
        (train(epochs="10"), ["train.epochs", "'10'", "integer"]),
        (train(lr=0.1), ["train.lr: unknown key", "0.1"]),
        (train(precision="fp8"), ["train.precision", "'32-true'", "'fp8'"]),
        (train(optimizer={"lr": -1.0}), ["train.optimizer.lr", "greater than 0", "-1.0"]),
        (
            train(optimizer={"name": "adam", "lr": 0.1, "momentum": 0.9}),
            [
                "train.optimizer.momentum: no option of adam",
                "betas, encoder_lr_scale, eps, layer_decay, lr",
                "value 0.9",
            ],
        ),
        (train(optimizer={"lr": 0.1, "alpha": 0.9}), ["optimizer.alpha: no option of adamw", "value 0.9"]),
        (
            train(optimizer={"name": "adan", "lr": 0.1}),
            ["train.optimizer.name", "'adagrad', 'adam'", "'adan'"],
        ),
        (
            train(optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.0, "nesterov": True}),
            ["train.optimizer.nesterov: needs a momentum above 0", "value True"],
        ),
        (
            train(schedule={"name": "cosine", "power": 2.0}),
            ["train.schedule.power: no option of cosine; allowed are name, warmup", "value 2.0"],
        ),
        (
            train(schedule={"milestones": [0.5]}),
            ["train.schedule.milestones: no option of one_cycle", "[0.5]"],
        ),
        (train(schedule={"name": "step", "milestones": [1.5]}), ["train.schedule.milestones.0", "1.5"]),
        (
            train(schedule={"name": "plateau"}, fit_on="train_val", select="last"),
            ["train", "plateau nothing to watch"],
        ),
        ({"init_weights": {"name": "hee"}}, ["init_weights.name", "'hee'", "allowed are he, normal, xavier"]),
        (
            {"init_weights": {"name": "normal", "mode": "fan_in"}},
            ["init_weights: mode: unknown key", "'fan_in'", "allowed are std"],
        ),
        ({"init_weights": {"name": "normal", "std": 0.0}}, ["init_weights: std", "greater than 0"]),
        (
            {"init_weights": {"name": "he"}, "model": {"name": "efficientnet_lite0"}},
            ["init_weights.name: 'he'", "efficientnet_lite0 starts as its option `weights` says"],
        ),
        (
            {"model": {"name": "residual_cnn", "norm": "layer"}},
            ["model: norm", "'batch', 'group' or 'none'", "'layer'"],
        ),
        (
            {"model": {"name": "residual_cnn", "stochastic_depth": 1.0}},
            ["model: stochastic_depth", "less than 1"],
        ),
        (train(ema=0.9, swa=0.5), ["train.swa: ema averages the weights already", "value 0.5"]),
        (train(head_first={"epochs": 1}), ["train.head_first: leaves no epoch of 1 for the second phase"]),
        (
            train(matmul_precision="tf32"),
            ["train.matmul_precision", "'highest', 'high' or 'medium'", "'tf32'"],
        ),
        (train(l1=-1.0), ["train.l1", "greater than or equal to 0", "-1.0"]),
        (train(seeds=[]), ["train.seeds", "at least 1"]),
        (train(fit_on="train_val"), ["train", "leaves nothing to choose on"]),
        ({"inputs": {"size": [16]}}, ["inputs.size", "at least 2"]),
        ({"cache": {"side": 0}}, ["cache.side", "greater than 0", "value 0"]),
        ({"cache": {"gigabytes": 0.0}}, ["cache.gigabytes", "greater than 0"]),
        (
            ACTIVITY | {"evaluate": {"scales": [1.0, 1.5]}},
            ["evaluate.scales: [1.0, 1.5] is for classification and segmentation only"],
        ),
        (
            ACTIVITY | {"evaluate": {"flip": True}},
            ["evaluate.flip: True is for classification and detection and segmentation only"],
        ),
        ({"evaluate": {"fuse_iou": 0.6}}, ["evaluate.fuse_iou: 0.6 is for detection only"]),
        ({"evaluate": {"fuse_iou": 1.5}}, ["evaluate.fuse_iou", "less than 1", "1.5"]),
        (
            {"evaluate": {"validation_backend": "hotcoco"}},
            ["evaluate.validation_backend: 'hotcoco' is for detection only"],
        ),
        (
            {"evaluate": {"validation_backend": "cocoapi"}},
            ["evaluate.validation_backend", "'pycocotools', 'faster-coco-eval' or 'hotcoco'", "'cocoapi'"],
        ),
        (
            {"evaluate": {"suppression": {"name": "nms", "sigma": 0.5}}},
            ["evaluate.suppression.sigma: no option of nms; allowed are", "max_detections, name, overlap"],
        ),
        ({"evaluate": {"suppression": {}}}, ["evaluate.suppression", "is for detection only"]),
        (
            {"evaluate": {"score_threshold": 0.5}},
            ["evaluate.score_threshold: 0.5 is for detection only"],
        ),
        ({"evaluate": {"protocol": "voc"}}, ["evaluate.protocol: 'voc' is for detection only"]),
        ({"evaluate": {"scales": []}}, ["evaluate.scales", "at least 1 item"]),
        ({"evaluate": {"split": "trian"}}, ["evaluate.split", "'train', 'val' or 'test'"]),
    ],
)
def test_a_wrong_one_is_explained(changes, parts):
    with pytest.raises(ConfigError) as error:
        check_experiment(WHERE, values(**changes), SOURCES)
    message = str(error.value)
    assert message.startswith(WHERE)
    for part in parts:
        assert part in message


def test_a_back_end_that_is_not_installed_is_explained(monkeypatch):
    # None in sys.modules is how Python marks a module that cannot be imported
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(
        ConfigError, match=r"validation_backend: 'hotcoco' is not installed .*\[eval\].*there are"
    ):
        check_evaluate(WHERE, "detection", Evaluate(validation_backend="hotcoco"))


def test_every_defect_has_its_line():
    wrong = values(tsk=1, **train(epochs=-1, batch_size="x"))
    with pytest.raises(ConfigError) as error:
        check_experiment(WHERE, wrong, SOURCES)
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(WHERE) for line in lines)


def test_a_detector_takes_no_size_of_inputs():
    detection = {"task": "detection", "model": {"name": "fcos"}, "augment": None, "loss": {}}
    with pytest.raises(ConfigError, match=r"inputs\.size: detectors resize by themselves"):
        check_experiment(WHERE, values(**detection, inputs={"size": [64, 64]}), SOURCES)


def test_scaled_images_of_the_cache_are_for_tasks_without_places():
    detection = {"task": "detection", "model": {"name": "fcos"}, "augment": None, "loss": {}}
    assert check_experiment(WHERE, values(**detection, cache={}), SOURCES).cache.side is None
    with pytest.raises(ConfigError, match=r"cache.side: 256 .*autoencoder, classification, gan"):
        check_experiment(WHERE, values(**detection, cache={"side": 256}), SOURCES)


def test_a_gan_needs_an_embedder():
    gan = {"task": "gan", "model": {"name": "dcgan"}, "augment": None, "loss": {}}
    with pytest.raises(ConfigError, match="embedder: a GAN needs"):
        check_experiment(WHERE, values(**gan), SOURCES)
    assert check_experiment(WHERE, values(**gan, embedder="digits"), SOURCES).embedder == "digits"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gradient_clip": 1.0}, "train.gradient_clip: not for GANs"),
        ({"accumulate": 2}, "train.accumulate: not for GANs"),
        ({"head_first": {"epochs": 1}, "epochs": 2}, "train.head_first: not for GANs"),
        ({"schedule": {"name": "plateau"}}, "train.schedule.name: 'plateau' needs a validation score"),
    ],
)
def test_what_a_gan_cannot_do_is_refused(changes, message):
    gan = {"task": "gan", "model": {"name": "dcgan"}, "augment": None, "loss": {}, "embedder": "digits"}
    with pytest.raises(ConfigError, match=message):
        check_experiment(WHERE, values(**gan, **train(**changes)), SOURCES)


def test_the_section_must_be_a_mapping():
    with pytest.raises(ConfigError, match="value 3"):
        check_experiment(WHERE, 3, SOURCES)


def test_a_right_source_passes():
    found = check_source(WHERE, {"reader": "voc", "root": "x", "year": 2007, "sample": {"n": 3}})
    assert found.options == {"year": 2007}
    assert found.sample.n == 3


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ({"reader": "vok"}, ["reader", "'vok'", "camvid, coco, digits"]),
        ({"root": "x"}, ["reader", "Field required"]),
        (
            {"reader": "voc", "yaer": 2007},
            ["yaer: unknown key", "2007", "allowed are difficult, task, train, year"],
        ),
        ({"reader": "voc", "year": "2007"}, ["year", "'2007'", "integer"]),
        ({"reader": "voc", "task": "all"}, ["task", "'all'"]),
        ({"reader": "voc", "validation": {"share": 1.5}}, ["validation.share", "less than 1", "1.5"]),
        (
            {"reader": "voc", "validation": {"by": "video", "share": 0.1}},
            ["validation.by", "'group' or 'sample'"],
        ),
        ({"reader": "voc", "root": "x", "sample": {"m": 3}}, ["sample.m: unknown key"]),
        ({"reader": "voc", "sample": {"n": 3}}, ["sample", "needs `root`"]),
        ({"reader": "digits", "root": "x", "sample": {"n": 3}}, ["sample", "digits cannot"]),
        (
            {"reader": "voc", "root": "x", "sample": {"figures": "people"}},
            ["sample: figures: unknown key"],
        ),
    ],
)
def test_a_wrong_source_is_explained(source, parts):
    with pytest.raises(ConfigError) as error:
        check_source(WHERE, source)
    message = str(error.value)
    assert message.startswith(WHERE)
    for part in parts:
        assert part in message


class TestEnsembles:
    """An ensemble against its members."""

    WHERE = "conf/base/parameters/ensembles/both.yml: both"

    def check(self, given=None, one=None, two=None):
        members = {
            "one": check_experiment(WHERE, values(**(one or {})), SOURCES),
            "two": check_experiment(WHERE, values(**(two or {})), SOURCES),
        }
        return check_ensemble(self.WHERE, {"members": ["one", "two"]} | (given or {}), members)

    def test_a_right_one_passes(self):
        config = self.check({"weights": [1, 2.5], "evaluate": {"flip": True, "scales": [1.0, 1.25]}})
        assert [config.weight_of(name) for name in config.members] == [1.0, 2.5]
        assert [self.check().weight_of(name) for name in config.members] == [1.0, 1.0]
        assert self.check({"evaluate": {"split": "val"}}).evaluate.split == "val"

    @pytest.mark.parametrize(
        ("given", "parts"),
        [
            ({"weights": [1.0]}, ["weights: 1 weights for 2 members; give one a member, or none", "[1.0]"]),
            ({"weights": [1.0, 0.0]}, ["weights.1", "greater than 0", "0.0"]),
            ({"weights": [1.0, -1.0]}, ["weights.1", "greater than 0"]),
            ({"weights": [1.0, float("inf")]}, ["weights.1", "finite"]),
            ({"weights": [1.0, "2"]}, ["weights.1", "'2'"]),
            ({"weight": [1, 1]}, ["weight: unknown key", "allowed are evaluate, members, weights"]),
            ({"members": ["two", "one"]}, ["members", "an environment may not change ['one', 'two']"]),
            (
                {"evaluate": {"split": "train"}},
                ["evaluate.split", "'train' was trained on by member 'one'; allowed is 'test'"],
            ),
            ({"evaluate": {"mirror": True}}, ["evaluate.mirror: unknown key"]),
            (
                {"evaluate": {"validation_backend": "hotcoco"}},
                ["evaluate.validation_backend: 'hotcoco' is for detection only"],
            ),
            (
                {"evaluate": {"validation_backend": "cocoapi"}},
                [
                    "evaluate.validation_backend",
                    "'pycocotools', 'faster-coco-eval' or 'hotcoco'",
                    "'cocoapi'",
                ],
            ),
            (
                {"evaluate": {"score_threshold": 0.5}},
                ["evaluate.score_threshold: 0.5 is for detection only"],
            ),
            ({"evaluate": {"protocol": "voc"}}, ["evaluate.protocol: 'voc' is for detection only"]),
            ({"evaluate": {"fuse_iou": 0.6}}, ["evaluate.fuse_iou: 0.6 is for detection only"]),
        ],
    )
    def test_a_wrong_one_is_explained(self, given, parts):
        with pytest.raises(ConfigError) as error:
            self.check(given)
        message = str(error.value)
        assert message.startswith(self.WHERE)
        for part in parts:
            assert part in message

    def test_members_are_scored_on_one_split_by_one_protocol(self):
        with pytest.raises(ConfigError, match=r"members: scored on different splits, .*'two': 'val'"):
            self.check(two={"evaluate": {"split": "val"}})
        detection = {"task": "detection", "model": {"name": "fcos"}, "augment": None, "loss": {}}
        voc = detection | {"evaluate": {"protocol": "voc"}}
        expected = r"evaluate\.protocol: 'standard', but member 'one' is scored by 'voc'; all need the same"
        with pytest.raises(ConfigError, match=expected):
            self.check(one=voc, two=voc)
        with pytest.raises(ConfigError, match=r"evaluate\.protocol: 'voc', but member 'two'"):
            self.check({"evaluate": {"protocol": "voc"}}, one=voc, two=detection)
        given = {"evaluate": {"protocol": "voc", "flip": True, "fuse_iou": 0.5}}
        assert self.check(given, one=voc, two=voc).evaluate.fuse_iou == 0.5

    def test_a_split_that_was_trained_on_is_not_scored(self):
        both = train(fit_on="train_val", select="last")
        expected = r"evaluate\.split: 'val' was trained on by member 'two'; allowed is 'test'"
        with pytest.raises(ConfigError, match=expected):
            self.check({"evaluate": {"split": "val"}}, two=both)
        assert self.check(two=both).members == ["one", "two"]

    @pytest.mark.parametrize(
        ("task", "model", "why"),
        [
            ("autoencoder", "conv_autoencoder", "the codes of two trainings have no axis in common"),
            ("gan", "dcgan", "it generates images of no given sample"),
        ],
    )
    def test_what_cannot_be_averaged_is_refused_with_the_reason(self, task, model, why):
        other = {"task": task, "model": {"name": model}, "augment": None, "loss": {}}
        other |= {"embedder": "digits"} if task == "gan" else {}
        with pytest.raises(ConfigError, match=f"members: no ensemble of task {task}: .*{why}"):
            self.check(one=other, two=other)


def sections(kind):
    files = sorted((CONF / kind).glob("*.yml"))
    return {
        name: section for f in files for name, section in yaml.safe_load(f.read_text(encoding="utf8")).items()
    }


@pytest.mark.parametrize("name", sorted(sections("experiments")))
def test_the_experiments_that_come_with_the_project_pass(name):
    check_experiment(name, sections("experiments")[name], sections("sources"))


@pytest.mark.parametrize("name", sorted(sections("sources")))
def test_the_sources_that_come_with_the_project_pass(name):
    check_source(name, sections("sources")[name] | {"root": "somewhere"})


def test_only_readers_that_can_draw_so_many_objects_are_asked_to():
    section = {"reader": "voc", "root": "somewhere", "sample": {"objects": [0, 1]}, "year": 2012}
    with pytest.raises(ConfigError, match=r"here: sample.*objects"):
        check_source("here", section)
    check_source("here", {"reader": "coco", "root": "somewhere", "sample": {"objects": [0, 1]}})
