"""Models in MLflow's form answer as the models that they were made of, in a process that has neither."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import torch

from cv_pipelines.data.datasets import keypoint_names
from cv_pipelines.data.encoding import decode_png, encode_png
from cv_pipelines.errors import RegistryError
from cv_pipelines.inference.model import Trained
from cv_pipelines.inference.requests import disagreement, request_of
from cv_pipelines.io.package import answers_of, checkpoint_in, write_package
from cv_pipelines.models.localizer import Localizer
from cv_pipelines.training.checkpoints import Checkpoint, load_checkpoints
from cv_pipelines.training.predict import predict, scored_part

DETECTOR = {"score_threshold": 0.0, "max_detections": 50, "min_size": 96, "max_size": 128}
"""Many boxes that overlap, in enlarged images: what a trained detector meets too."""
FOUND = {"score_threshold": 0.0, "max_detections": 50}
CHOSEN = FOUND | {"nms_threshold": 0.4}
ONE_PASS = {
    "retinanet": {
        "weights": "none",
        "min_size": 96,
        "max_size": 128,
        "first_stride": 16,
        "width": 32,
        **CHOSEN,
    },
    "yolo_v1": {
        "size": 96,
        "backbone": "paper",
        "width": 0.05,
        "hidden": 32,
        "head_stride": 1,
        "resize": "stretch",
        **CHOSEN,
    },
    "yolo_v3_tiny": {"size": 96, "width": 0.1, "resize": "letterbox", **CHOSEN},
    "yolo_v5": {"size": 96, "width": 0.1, "resize": "letterbox", **CHOSEN},
    "localizer": {"size": 96, "weights": "none", "width": 8, "hidden": 16, "score_threshold": 0.0},
    "rt_detr": {
        "size": 96,
        "weights": "none",
        "width": 32,
        "hidden": 32,
        "queries": 40,
        "decoder_layers": 2,
        **FOUND,
    },
}
SLOW = {"retinanet", "rt_detr"}
"""Their graphs take half a minute to write."""
TASKS = [
    *("activity", "autoencoder", "classification", "landmarks", "segmentation"),
    pytest.param("detection", marks=pytest.mark.slow),  # its graph takes half a minute to write
]


NOISE = encode_png(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))


@pytest.fixture(scope="module")
def packages(checkpoint, sources, tmp_path_factory):
    """Writes each task's model once; gives its folder and checkpoint."""
    made = {}

    def get(task):
        if task not in made:
            if task in ONE_PASS:
                model = {"name": task, **ONE_PASS[task]}
                saved = of_several_minds(checkpoint("detection", model=model))
            else:
                saved = checkpoint(task, model_options=DETECTOR if task == "detection" else None)
            folder = tmp_path_factory.mktemp(task) / "package"
            write_package(saved, sources["detection" if task in ONE_PASS else task], folder)
            made[task] = folder, saved
        return made[task]

    return get


def of_several_minds(saved):
    """Let an untrained detector tell places apart: of scores that are nearly equal either may come first."""
    model = saved.build()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches
            module.reset_running_stats()
    with torch.no_grad():
        if isinstance(model, Localizer):
            model.head[-1].weight[1:5] *= 0.01  # about half the image: a box of some area is an answer
            model.head[-1].bias[1:5] = 0.5
        model.train()
        model.dense(torch.randn(8, 3, 96, 96))
    weights = model.state_dict()
    for name, weight in weights.items():  # those of the heads, after which no batch norm comes
        if weight.ndim == 4 and name.replace("weight", "bias") in weights and "regression" not in name:
            weight.mul_(4)
    return Checkpoint(saved.meta, {"best": weights, "last": weights})


def inverted(mask):
    return base64.b64encode(encode_png(1 - decode_png(base64.b64decode(mask))))


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_those_of_the_model(task, packages, sources, experiment):
    folder, saved = packages(task)
    part = scored_part(experiment(task), sources[task])
    expected = predict(experiment(task), sources[task], {0: saved}).drop(columns="seed")
    requests = [request_of(part, index) for index in range(len(part.samples))]
    answers = answers_of(folder, requests, part.kind)
    ids = part.samples["sample_id"].tolist()
    assert disagreement(task, expected, ids, answers, part.categories) == ""
    # and the comparison can fail
    other = answers[1:] + answers[:1]
    if task == "segmentation":  # without training, all masks are alike
        other = [one | {"mask": inverted(one["mask"])} for one in answers]
    assert disagreement(task, expected, ids, other, part.categories).startswith(f"{ids[0]}: ")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in ONE_PASS]
)
@pytest.mark.parametrize("size", [(64, 64), (40, 90), (150, 33), (1, 50)])
def test_a_detector_finds_the_same_boxes_in_pictures_of_any_shape(name, size, packages):
    folder, saved = packages(name)
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    task = Trained(saved, "cpu").task
    with torch.inference_mode():
        (found,) = task.model([task.normalize(torch.from_numpy(pixels).permute(2, 0, 1))])
    (answer,) = answers_of(folder, [encode_png(pixels)], "image")
    assert len(answer["boxes"]) == len(found["boxes"]) > 0
    names = saved.meta.categories.names("objects")
    for box, corners, label, score in zip(
        answer["boxes"], found["boxes"].tolist(), found["labels"], found["scores"], strict=True
    ):
        assert box["label"] == names[label]
        assert box["score"] == pytest.approx(float(score), abs=1e-4)
        x1, y1, x2, y2 = corners
        told = [box[key] for key in "xywh"]
        assert told == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=1e-2)


def test_points_are_told_by_name_in_pixels_of_the_picture(packages, sources, experiment):
    folder, saved = packages("landmarks")
    part = scored_part(experiment("landmarks"), sources["landmarks"])
    own = predict(experiment("landmarks"), sources["landmarks"], {0: saved}).iloc[0]
    (answer,) = answers_of(folder, [request_of(part, 0)], "image")
    assert answer["score"] == pytest.approx(own["score"], abs=1e-4)
    names = keypoint_names(saved.meta.categories)
    told = [(point["name"], point["x"], point["y"]) for point in answer["points"]]
    assert [name for name, *_ in told] == names
    wanted = np.reshape(own["keypoints"], (-1, 3))[:, :2]
    np.testing.assert_allclose([place for _, *place in told], wanted, atol=0.05)


def test_the_folder_says_what_it_takes_and_holds_the_checkpoint(packages):
    folder, saved = packages("classification")
    model = (folder / "MLmodel").read_text()
    assert '"type": "binary", "name": "image"' in model
    assert '"name": "confidence"' in model
    assert "input_example" in model
    needed = (folder / "requirements.txt").read_text()
    assert "onnxruntime==" in needed
    assert "torch" not in needed
    (again,) = load_checkpoints(checkpoint_in(folder)).values()
    assert again.meta == saved.meta
    assert not list(folder.rglob("*.pkl"))


ALONE = """
import json, sys
for name in ("cv_pipelines", "torch", "torchvision", "lightning", "timm"):
    sys.modules[name] = None  # importing it fails
import mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
asked = pd.DataFrame({"image": [open(path, "rb").read() for path in sys.argv[2:]]})
print(json.dumps(model.predict(asked).to_dict("records")))
"""


def test_it_loads_without_this_project_and_without_pytorch(packages, sources, tmp_path):
    folder, _ = packages("classification")
    file = tmp_path / "one.png"
    file.write_bytes(request_of(sources["classification"], 3))
    done = subprocess.run(
        [sys.executable, "-c", ALONE, folder, file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout.splitlines()[-1])
    (same,) = answers_of(folder, [file.read_bytes()], "image")
    assert answer["label"] == same["label"]
    assert answer["probabilities"] == pytest.approx(same["probabilities"])


@pytest.mark.parametrize("size", [(16, 16), (40, 24), (100, 33)])
def test_pictures_of_any_size_become_masks_of_their_size(size, packages):
    folder, _ = packages("segmentation")
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    (answer,) = answers_of(folder, [encode_png(pixels)], "image")
    assert (answer["height"], answer["width"]) == size


@pytest.mark.parametrize(
    ("task", "given", "told"),
    [
        ("classification", [b"no picture"], "input 0: not an image"),
        ("classification", [b""], "input 0: not an image: no bytes"),
        ("classification", ["§§"], "input 0: not an image: text that is no base64"),
        ("classification", [None], "input 0"),
        ("classification", [b"\x89PNG" + bytes(2**25)], "33,554,436 bytes; at most 33,554,432 are taken"),
        ("segmentation", [encode_png(np.zeros((2001, 2000), np.uint8))], "2000×2001 pixels; at most 4,000"),
        ("classification", [NOISE[: len(NOISE) // 2]], "input 0: "),
        ("classification", [encode_png(np.zeros((9, 9), np.uint8))] * 1001, "1001 inputs; 1 to 1000"),
        ("activity", [np.zeros((5, 32), np.float32)], "does not match expected shape"),
        ("activity", [np.full((6, 32), np.nan, np.float32)], "no finite numbers"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_the_reason(task, given, told, packages):
    folder, _ = packages(task)
    with pytest.raises(RegistryError) as refused:
        answers_of(folder, given, "signal" if task == "activity" else "image")
    assert told in str(refused.value)
    assert str(refused.value).startswith("package: MlflowException")


def test_base64_text_is_a_picture_too(packages, sources):
    folder, _ = packages("classification")
    data = request_of(sources["classification"], 0)
    model = mlflow.pyfunc.load_model(str(folder)).unwrap_python_model()
    text = pd.DataFrame({"image": [base64.b64encode(data).decode()]})
    assert model.predict(None, text).equals(model.predict(None, pd.DataFrame({"image": [data]})))


def test_limits_are_changed_where_a_model_is_served(packages, sources):
    folder, _ = packages("classification")
    model = mlflow.pyfunc.load_model(str(folder), model_config={"pixels": 255})
    with pytest.raises(mlflow.MlflowException, match="16×16 pixels; at most 255 are taken"):
        model.predict(pd.DataFrame({"image": [request_of(sources["classification"], 0)]}))


def test_nothing_stays_where_a_model_cannot_be_written(checkpoint, sources, tmp_path, monkeypatch):
    def broken(path, **_):
        Path(path).mkdir()
        raise OSError("disk full")

    monkeypatch.setattr(mlflow.pyfunc, "save_model", broken)
    with pytest.raises(OSError, match="disk full"):
        write_package(checkpoint("activity"), sources["activity"], tmp_path / "made")
    assert list(tmp_path.iterdir()) == []
