"""Every registered model: shapes, gradients, options, and that saved weights come back."""

import inspect
import re
from typing import get_type_hints

import pytest
import torch
from safetensors.torch import load_file, save_file

from cv_pipelines.models import MODELS, builder
from cv_pipelines.models.efficientnet import Float32Conv, encoder, packaged_state, wrap_slow_convs

CLASSES = 3
SMALL = {"weights": "none", "min_size": 64, "max_size": 64, "score_threshold": 0.0}
YOLOS = ["yolo_v1", "yolo_v3_tiny", "yolo_v5"]
EARLY = ["fast_rcnn", "localizer", "rcnn", "sliding_window"]
TORCHVISIONS = [
    "faster_rcnn",
    "fcos",
    "keypoint_rcnn",
    "mask_rcnn",
    "retinanet",
    "ssd",
    "torchvision_detector",
]
DETECTORS = [*TORCHVISIONS, "rt_detr", *EARLY, *YOLOS]
OPTIONS = {
    "conv_autoencoder": {"channels": [4, 8], "blocks": 1, "code": 2},
    "dcgan": {"size": 32, "latent": 5, "width": 4},
    "efficientnet_lite0": {"weights": "none"},
    "fast_rcnn": {**SMALL, "stride": 8, "head_width": 16},
    "faster_rcnn": {**SMALL, "width": 16, "head_width": 16, "proposals": 20},
    "fcos": {**SMALL, "width": 32},
    "inception_1d": {"filters": 2, "kernels": [3, 5], "blocks": 2, "pool_after": [1]},
    "keypoint_rcnn": {
        **SMALL,
        "width": 16,
        "head_width": 16,
        "keypoint_width": 8,
        "keypoint_convs": 1,
        "proposals": 20,
        "points": 3,
    },
    "landmark_net": {"weights": "none", "width": 16, "convs": 1},
    "localizer": {"weights": "none", "size": 64, "width": 8, "hidden": 16, "score_threshold": 0.0},
    "mask_rcnn": {**SMALL, "width": 16, "head_width": 16, "mask_width": 8, "proposals": 20},
    "pretrained_segmenter": {"weights": "none", "decoder_channels": [16, 8, 8, 8, 8]},
    "rcnn": {"weights": "none", "crop": 32, "sampled_regions": 8, "score_threshold": 0.0},
    "residual_cnn": {"channels": [4, 8], "blocks": 1},
    "retinanet": {**SMALL, "width": 32},
    "sliding_window": {"sides": [20.0, 40.0], "width": 4, "hidden": 8, "score_threshold": 0.0},
    "rt_detr": {
        "weights": "none",
        "size": 64,
        "width": 32,
        "hidden": 32,
        "queries": 20,
        "decoder_layers": 1,
        "denoising": 8,
        "score_threshold": 0.0,
    },
    "ssd": {"weights": "none", "size": 64, "extra_widths": [16], "score_threshold": 0.0},
    "torchvision_detector": {
        "architecture": "fasterrcnn_mobilenet_v3_large_320_fpn",
        "min_size": 64,
        "max_size": 64,
        "score_threshold": 0.0,
    },
    "unet": {"channels": [4, 8]},
    "yolo_v1": {
        "weights": "none",
        "size": 64,
        "width": 0.05,
        "hidden": 32,
        "dropout": 0.0,
        "score_threshold": 0.0,
    },
    "yolo_v3_tiny": {"size": 64, "width": 0.1, "score_threshold": 0.0},
    "yolo_v5": {"size": 64, "width": 0.1, "score_threshold": 0.0},
}
IMAGES = (4, 3, 32, 32)
SHAPES = {
    "conv_autoencoder": (IMAGES, IMAGES),
    "dcgan": ((4, 5), IMAGES),
    "efficientnet_lite0": (IMAGES, (4, CLASSES)),
    "inception_1d": ((4, 6, 32), (4, CLASSES)),
    "landmark_net": (IMAGES, (4, CLASSES)),
    "pretrained_segmenter": (IMAGES, (4, CLASSES, 32, 32)),
    "residual_cnn": (IMAGES, (4, CLASSES)),
    "unet": (IMAGES, (4, CLASSES, 32, 32)),
}
RGB_ONLY = ["efficientnet_lite0", "landmark_net", "pretrained_segmenter", *DETECTORS]


@pytest.fixture(scope="module", params=sorted(MODELS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    torch.manual_seed(0)
    channels = 6 if name == "inception_1d" else 3
    return builder(name)(channels, CLASSES, **OPTIONS[name])


def run(name, model):
    """The model's output, or the sum of a detector's losses, in training mode."""
    model.train()
    torch.manual_seed(1)
    if name not in DETECTORS:
        return model(torch.randn(SHAPES[name][0]))
    target = {"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([1])}
    target["keypoints"] = torch.tensor([[[9.0, 9, 2], [30, 20, 1], [0, 0, 0]]])
    targets = [target | {"masks": torch.ones(1, height, 64, dtype=torch.uint8)} for height in (64, 48)]
    losses = model([torch.randn(3, 64, 64), torch.randn(3, 48, 64)], targets)
    return torch.stack(list(losses.values())).sum()


def test_output_has_the_documented_shape(name, model):
    with torch.no_grad():
        assert run(name, model).shape == SHAPES.get(name, (None, ()))[1]  # a detector's loss is a scalar


def test_gradients_are_finite_and_reach_every_parameter(name, model):
    output = run(name, model)
    loss = output.square().mean()
    if name == "dcgan":
        loss = loss + model.discriminator(output).square().mean()
    model.zero_grad()
    loss.backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name


def test_weights_saved_and_loaded_give_the_same_output(name, model, tmp_path):
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "w.safetensors")
    channels = 6 if name == "inception_1d" else 3
    again = builder(name)(channels, CLASSES, **OPTIONS[name])
    again.load_state_dict(load_file(tmp_path / "w.safetensors"))
    x = [torch.randn(3, 64, 64)] if name in DETECTORS else torch.randn(SHAPES[name][0])
    with torch.no_grad():
        one, two = model.eval()(x), again.eval()(x)
    if name in DETECTORS:
        assert torch.equal(one[0]["boxes"], two[0]["boxes"])
        assert torch.equal(one[0]["scores"], two[0]["scores"])
    else:
        assert torch.equal(one, two)


def test_what_the_weights_start_from_is_no_matter_of_their_shape(name, model):
    """A checkpoint is built without the packaged weights, which it only overwrites."""
    if OPTIONS[name].get("weights") != "none" or name == "torchvision_detector":  # reads a file of weights
        return
    channels = 6 if name == "inception_1d" else 3
    packaged = builder(name)(channels, CLASSES, **OPTIONS[name] | {"weights": "packaged"}).state_dict()
    assert {k: v.shape for k, v in packaged.items()} == {k: v.shape for k, v in model.state_dict().items()}


def test_options_are_annotated_and_documented(name):
    build = builder(name)
    hints = get_type_hints(build)
    options = [p for p in inspect.signature(build).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert options
    for option in options:
        assert option.name in hints
        assert option.default is not inspect.Parameter.empty
        assert re.search(rf"^\s+{option.name}: \S", inspect.getdoc(build), re.MULTILINE), option.name


def test_unknown_model_names_those_there_are():
    with pytest.raises(KeyError, match=r"unet_9.*dcgan.*unet"):
        builder("unet_9")


@pytest.mark.parametrize("name", RGB_ONLY)
def test_rgb_models_refuse_other_channels(name):
    with pytest.raises(ValueError, match=r"RGB.*gives 1 channels"):
        builder(name)(1, CLASSES, **OPTIONS[name])


@pytest.mark.parametrize(("stride", "extra", "levels"), [(8, False, 3), (16, False, 2), (4, True, 6)])
def test_detector_pyramid_has_the_levels_asked_for(stride, extra, levels):
    options = {**OPTIONS["fcos"], "first_stride": stride, "extra_levels": extra}
    backbone = builder("fcos")(3, CLASSES, **options).net.backbone.eval()
    with torch.no_grad():
        maps = list(backbone(torch.randn(1, 3, 64, 64)).values())
    assert len(maps) == levels
    assert maps[0].shape == (1, 32, 64 // stride, 64 // stride)


@pytest.mark.parametrize("decoder", ["fpn", "deeplab_v3_plus"])
def test_segmenter_decoders_keep_the_image_size(decoder):
    model = builder("pretrained_segmenter")(3, CLASSES, decoder=decoder, weights="none").eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 32)).shape == (1, CLASSES, 64, 32)


@pytest.fixture(scope="module")
def classifier():
    return builder("efficientnet_lite0")(3, CLASSES)


class TestPackagedWeights:
    """The ImageNet weights in the package, on the three models that use them."""

    def test_are_loaded_and_not_random(self, classifier):
        state = classifier.state_dict()
        other = builder("efficientnet_lite0")(3, CLASSES, weights="none").state_dict()
        stem = "encoder.conv_stem.weight"
        assert not torch.equal(state[stem], other[stem])
        # A random start has running means of 0 and variances of 1: only training moves them.
        assert (other["encoder.bn1.running_mean"] == 0).all()
        assert state["encoder.bn1.running_mean"].abs().max() > 0.1
        assert (state["encoder.bn2.running_var"] - 1).abs().max() > 0.1

    def test_are_the_same_in_classifier_segmenter_and_detector(self, classifier):
        features = dict(encoder("packaged").named_parameters())
        segmenter = builder("pretrained_segmenter")(3, CLASSES)
        known = dict(classifier.encoder.named_parameters())
        assert set(features) <= set(known)
        inner = dict(segmenter.encoder.model.named_parameters())
        for name in ("conv_stem.weight", "blocks.3.0.conv_pw.weight"):
            assert torch.equal(features[name], known[name])
            assert torch.equal(inner[name], known[name])

    def test_have_normalised_statistics_on_their_own_scale(self, classifier):
        """Weights paired with the wrong layers would blow up or vanish within 50 layers."""
        torch.manual_seed(0)
        with torch.no_grad():
            features = classifier.eval().embed(torch.rand(2, 3, 64, 64) * 2 - 1)
        assert features.shape == (2, 1280)
        assert 0.01 < features.std() < 10

    @pytest.mark.parametrize("stride", [4, 16])
    def test_an_encoder_that_ends_early_gives_the_first_maps(self, stride):
        x = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            whole, early = encoder("packaged").eval()(x), encoder("packaged", stride).eval()(x)
        assert [m.shape[-1] for m in early] == [s for s in (32, 16, 8, 4) if 64 // s <= stride]
        assert all(torch.equal(one, other) for one, other in zip(early, whole, strict=False))

    def test_refuse_a_model_of_other_layers(self):
        with pytest.raises(ValueError, match="packaged weights hold"):
            packaged_state(torch.nn.Linear(2, 2))

    def test_refuse_a_model_of_other_shapes(self):
        import timm

        with pytest.raises(ValueError, match=r"packaged conv_stem.weight: shape .* expected"):
            packaged_state(timm.create_model("tf_efficientnet_lite0", in_chans=1))


class TestFloat32Conv:
    """A wrapped convolution gives what the plain one gives."""

    conv = torch.nn.Conv2d(4, 4, 5, stride=2, padding=2, groups=4)

    def test_equals_the_plain_convolution(self):
        x = torch.randn(2, 4, 9, 9)
        assert torch.equal(Float32Conv(self.conv)(x), self.conv(x))

    def test_computes_in_float32_under_autocast_and_keeps_the_dtype(self):
        x = torch.randn(2, 4, 9, 9).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            found = Float32Conv(self.conv)(x)
        assert found.dtype == torch.bfloat16
        assert torch.equal(found, self.conv(x.float()).bfloat16())

    def test_only_slow_depthwise_convolutions_are_wrapped(self):
        net = torch.nn.Sequential(
            torch.nn.Conv2d(4, 4, 5, groups=4),
            torch.nn.Conv2d(4, 4, 3, stride=2, groups=4),
            torch.nn.Conv2d(4, 4, 3, groups=4),
            torch.nn.Sequential(torch.nn.Conv2d(4, 4, 5)),
        )
        wrap_slow_convs(net)
        assert [isinstance(layer, Float32Conv) for layer in net] == [True, True, False, False]
        assert isinstance(net[3][0], torch.nn.Conv2d)


@pytest.mark.parametrize("size", [4, 12, 30, 0, -8])
def test_dcgan_refuses_sizes_it_cannot_double_to(size):
    with pytest.raises(ValueError, match=rf"size {size}: expected 8, 16, 32"):
        builder("dcgan")(1, 0, size=size)


@pytest.mark.parametrize("size", [8, 16, 64])
def test_dcgan_players_agree_on_the_size(size):
    model = builder("dcgan")(1, 0, size=size, latent=3, width=2)
    images = model(torch.randn(2, 3))
    assert images.shape == (2, 1, size, size)
    assert images.abs().max() <= 1
    assert model.discriminator(images).shape == (2, 1)


def test_residual_embedding_is_what_the_head_sees():
    model = builder("residual_cnn")(1, CLASSES, channels=[4, 8], blocks=1, dropout=0.5).eval()
    x = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        assert torch.allclose(model.head[-1](model.embed(x)), model(x), atol=1e-6)


def test_residual_stages_may_have_blocks_of_their_own():
    build = builder("residual_cnn")
    assert len(build(1, CLASSES, channels=[4, 8], blocks=2).state_dict()) == len(
        build(1, CLASSES, channels=[4, 8], blocks=[2, 2]).state_dict()
    )
    deeper = build(1, CLASSES, channels=[4, 8], blocks=[1, 3])
    assert deeper(torch.randn(2, 1, 16, 16)).shape == (2, CLASSES)
    with pytest.raises(ValueError, match="3 numbers for 2 stages"):
        build(1, CLASSES, channels=[4, 8], blocks=[1, 1, 1])


def test_autoencoder_and_classifier_share_the_encoder():
    one = builder("conv_autoencoder")(1, 0, channels=[4, 8], blocks=1).encoder.state_dict()
    two = builder("residual_cnn")(1, CLASSES, channels=[4, 8], blocks=1).encoder.state_dict()
    assert {k: v.shape for k, v in one.items()} == {k: v.shape for k, v in two.items()}
