"""Predicting files: as `evaluate` predicts the same samples, each once, whatever happens meanwhile."""

import functools
import http.server
import json
import threading

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pycocotools.coco import COCO

from cv_pipelines.errors import InputError
from cv_pipelines.inference import run as running
from cv_pipelines.inference.inputs import open_input
from cv_pipelines.inference.model import Trained, config_of
from cv_pipelines.inference.parts import Parts
from cv_pipelines.inference.run import Options, predict_input
from cv_pipelines.training.predict import predict

IMAGE_TASKS = ["autoencoder", "classification", "detection", "segmentation"]


def pixels_of(data, index):
    image = data.read(index).numpy()
    return image[0] if len(image) == 1 else image.transpose(1, 2, 0)


@pytest.fixture
def pictures(sources, tmp_path):
    """A folder with the test split of a task's source as PNG files, named by sample id."""

    def write(task):
        data, folder = sources[task].only("test"), tmp_path / "given"
        for index, name in enumerate(data.samples["sample_id"]):
            path = folder / f"sub{index % 2}" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels_of(data, index)).save(path)
        return folder

    return write


def done(model, given, folder, **options):
    """Predict, and return what came of it with the three tables."""
    options = Options(**{"batch_size": 3, "part_size": 4, **options})
    outcome = predict_input(model, open_input(str(given), model, skip=folder), folder, options)
    return outcome, *(pd.read_parquet(folder / name) for name in ("predictions", "samples", "quarantine"))


def by_stem(table):
    """Order rows by the file's name without its folder, which the source's samples do not have."""
    ids = table["sample_id"].str.extract(r"([^/]+)\.png$")[0]
    return table.assign(sample_id=ids).sort_values("sample_id", kind="stable").reset_index(drop=True)


@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_files_are_predicted_as_evaluate_predicts_the_samples(
    task, trained, checkpoint, sources, pictures, tmp_path
):
    model = trained(task)
    outcome, found, samples, quarantine = done(model, pictures(task), tmp_path / "out")
    options = {"score_threshold": 0.0, "max_detections": 5} if task == "detection" else None
    saved = checkpoint(task, model_options=options)
    wanted = predict(config_of(saved), sources[task], {0: saved}).drop(columns="seed")
    found = by_stem(found)
    assert outcome.samples == len(samples) == len(sources[task].only("test").samples)
    assert found["sample_id"].tolist() == wanted["sample_id"].tolist()
    for column in wanted.columns.drop("sample_id"):
        if wanted[column].dtype == object and isinstance(wanted[column].iat[0], np.ndarray):
            np.testing.assert_allclose(np.stack(found[column]), np.stack(wanted[column]), atol=1e-6)
        elif wanted[column].dtype.kind == "f":
            np.testing.assert_allclose(found[column], wanted[column], rtol=1e-4, atol=1e-4)
        else:
            assert found[column].tolist() == wanted[column].tolist()
    odd = quarantine["reason"].tolist()
    assert odd == (["grey-scale image"] * len(samples) if sources[task].channels == 1 else [])


def test_class_names_stand_beside_the_numbers(trained, pictures, tmp_path):
    _, found, _, _ = done(trained("classification"), pictures("classification"), tmp_path / "out")
    names = np.array(["left", "right"])
    probabilities = np.stack(found["probabilities"])
    assert found["label"].tolist() == names[probabilities.argmax(axis=1)].tolist()
    np.testing.assert_allclose(found["confidence"], probabilities.max(axis=1))


def test_broken_files_are_named_with_their_reason_and_the_others_predicted(trained, pictures, tmp_path):
    folder = pictures("detection")
    whole = (folder / "sub0" / "s08.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpeg").write_text("hello")
    (folder / "notes.txt").write_text("no picture, not looked at")
    Image.open(folder / "sub0" / "s08.png").save(folder / "named.jpg", format="PNG")
    outcome, _, samples, quarantine = done(trained("detection"), folder, tmp_path / "out")
    assert quarantine[["file", "reason", "action"]].to_numpy().tolist() == [
        ["cut.png", "truncated image", "dropped"],
        ["empty.jpg", "empty file", "dropped"],
        ["named.jpg", "mislabelled format", "repaired"],
        ["text.jpeg", "not an image", "dropped"],
    ]
    assert sorted(samples["sample_id"]) == ["named.jpg", "sub0/s08.png", "sub1/s09.png"]
    assert (outcome.inputs, outcome.defects) == (6, 4)


class KilledError(RuntimeError):
    """Stands for a kill."""


@pytest.mark.parametrize("moment", ["model", "predictions", "quarantine", "read"])
def test_taken_up_after_a_kill_every_input_is_there_once(trained, pictures, tmp_path, monkeypatch, moment):
    folder, model = pictures("classification"), trained("classification")
    (folder / "broken.png").write_bytes(b"no")
    _, whole, _, defects = done(model, folder, tmp_path / "whole")
    with monkeypatch.context() as patch:
        calls = []

        def cut(self, *arguments):
            calls.append(arguments)
            if len(calls) == 2:
                raise KilledError
            return kept(self, *arguments)

        if moment == "model":
            kept = type(model).predict
            patch.setattr(type(model), "predict", cut)
        else:
            kept = Parts._path

            def path(self, name, number):
                if name == moment and number == 1:
                    raise KilledError
                return kept(self, name, number)

            patch.setattr(Parts, "_path", path)
        with pytest.raises(KilledError):
            done(model, folder, tmp_path / "out")
    (tmp_path / "out" / "samples" / ".part-000007.parquet.writing").write_bytes(b"half")
    outcome, again, _, quarantine = done(model, folder, tmp_path / "out")
    pd.testing.assert_frame_equal(
        again.sort_values("sample_id", ignore_index=True), whole.sort_values("sample_id", ignore_index=True)
    )
    assert sorted(quarantine["file"]) == sorted(defects["file"])
    assert outcome.inputs == 9
    assert outcome.before == (0 if moment == "model" else 6)
    assert list((tmp_path / "out").rglob("*.writing")) == []


def test_a_second_run_does_what_is_new_and_nothing_else(trained, pictures, tmp_path, monkeypatch):
    folder, model = pictures("classification"), trained("classification")
    done(model, folder, tmp_path / "out")
    Image.fromarray(np.full((16, 16), 9, np.uint8)).save(folder / "new.png")
    read, kept = [], type(model).read

    def watched(self, pending, *arguments):
        read.extend(one.name for one in pending)
        return kept(self, pending, *arguments)

    monkeypatch.setattr(type(model), "read", watched)
    outcome, found, _, _ = done(model, folder, tmp_path / "out")
    assert read == ["new.png"]
    assert (outcome.before, outcome.inputs, len(found)) == (8, 9, 9)


def test_other_results_are_not_mixed_with_those_that_lie_there(trained, pictures, tmp_path):
    folder = pictures("classification")
    done(trained("classification"), folder, tmp_path / "out")
    with pytest.raises(InputError, match="results of another experiment"):
        done(trained("autoencoder"), folder, tmp_path / "out")
    with pytest.raises(InputError, match="results of another input"):
        done(trained("classification"), folder / "sub0", tmp_path / "out")
    (tmp_path / "out" / "mine.txt").write_text("mine")
    _, found, _, _ = done(trained("autoencoder"), folder, tmp_path / "out", fresh=True)
    assert "image" in found.columns
    assert (tmp_path / "out" / "mine.txt").exists()


def test_two_processes_do_not_write_to_one_folder(trained, pictures, tmp_path):
    folder, model = pictures("classification"), trained("classification")
    held = Parts(tmp_path / "out", {}, running.prediction_schema("classification", model.meta.categories))
    with pytest.raises(InputError, match="another process writes"):
        done(model, folder, tmp_path / "out")
    held.close()


def test_images_of_another_size_are_resized_to_that_of_the_training(trained, tmp_path):
    (tmp_path / "given").mkdir()
    rng = np.random.default_rng(0)
    for side in (16, 40, 7, 1):
        Image.fromarray(rng.integers(0, 255, (side, 2 * side, 3), np.uint8)).save(
            tmp_path / "given" / f"{side}.png"
        )
    outcome, found, samples, _ = done(trained("classification"), tmp_path / "given", tmp_path / "out")
    assert outcome.samples == len(found) == 4
    assert samples.set_index("sample_id")["width"].to_dict() == {
        "1.png": 2,
        "16.png": 32,
        "40.png": 80,
        "7.png": 14,
    }


def test_what_the_network_refuses_is_set_aside(trained, tmp_path):
    (tmp_path / "given").mkdir()
    for side in (8, 9):
        Image.fromarray(np.zeros((side, side), np.uint8)).save(tmp_path / "given" / f"{side}.png")
    _, found, samples, quarantine = done(
        trained("autoencoder", shape=False), tmp_path / "given", tmp_path / "out"
    )
    assert found["sample_id"].tolist() in (["8.png"], ["8.png", "9.png"])
    refused = quarantine[quarantine["reason"] == "refused by the model"]["file"].tolist()
    assert sorted(samples["sample_id"].tolist() + refused) == ["8.png", "9.png"]


def test_detections_as_a_coco_file(trained, pictures, tmp_path):
    _, found, _, _ = done(trained("detection"), pictures("detection"), tmp_path / "out")
    coco = COCO(tmp_path / "out" / "coco.json")
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == [
        "sub0/s08.png",
        "sub1/s09.png",
    ]
    assert {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())} == {1: "red", 2: "white"}
    rows = [
        (coco.imgs[a["image_id"]]["file_name"], a["category_id"] - 1, a["score"], *a["bbox"])
        for a in coco.loadAnns(coco.getAnnIds())
    ]
    assert rows == list(found[["sample_id", "category", "score", *"xywh"]].itertuples(index=False, name=None))


def test_a_detector_that_finds_nothing_leaves_tables_all_the_same(checkpoint, pictures, tmp_path):
    model = Trained(checkpoint("detection", model_options={"score_threshold": 1.0}), "cpu")
    outcome, found, samples, _ = done(model, pictures("detection"), tmp_path / "out", pictures=True)
    assert (len(found), len(samples), outcome.predictions) == (0, 2, 0)
    assert {"sample_id", "label", "score", "x"} <= set(found.columns)
    assert json.loads((tmp_path / "out" / "coco.json").read_text())["annotations"] == []
    assert len(list((tmp_path / "out" / "pictures").rglob("*.jpg"))) == 2


@pytest.mark.parametrize("task", IMAGE_TASKS)
def test_pictures_are_drawn_for_every_image_task(task, trained, pictures, tmp_path):
    folder = pictures(task)
    done(trained(task), folder, tmp_path / "out", pictures=True)
    drawn = sorted(
        path.relative_to(tmp_path / "out" / "pictures").as_posix()
        for path in (tmp_path / "out").rglob("*.jpg")
    )
    given = sorted(path.relative_to(folder).as_posix() + ".jpg" for path in folder.rglob("*.png"))
    assert drawn == given
    with Image.open(tmp_path / "out" / "pictures" / drawn[0]) as image:
        colors = np.asarray(image).reshape(-1, 3).std(axis=0)
    assert (colors > 0).all()


def test_results_inside_the_input_folder_are_no_input(trained, pictures, tmp_path):
    folder = pictures("classification")
    done(trained("classification"), folder, folder / "out", pictures=True)
    outcome, _, _, _ = done(trained("classification"), folder, folder / "out", pictures=True)
    assert outcome.inputs == 8


def film(path, frames):
    """Write frames without loss and return them as they are decoded."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 10, (width, height))
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()


@pytest.fixture
def frames(sources):
    """Twelve frames made of the toy detection images, each with a mark of its own."""
    images = [pixels_of(sources["detection"], i % 10).copy() for i in range(12)]
    for number, image in enumerate(images):
        image[:8, 4 * number : 4 * number + 4] = 255
    return images


def test_a_video_is_predicted_frame_by_frame(trained, frames, tmp_path):
    film(tmp_path / "film.avi", frames)
    (tmp_path / "given").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "given" / f"{number:06d}.png")
    model = trained("segmentation")
    outcome, found, _, quarantine = done(model, tmp_path / "film.avi", tmp_path / "out")
    _, wanted, _, _ = done(model, tmp_path / "given", tmp_path / "single")
    assert found["sample_id"].tolist() == [f"film.avi#{number:06d}" for number in range(12)]
    same = [a == b for a, b in zip(found["mask"], wanted["mask"], strict=True)]
    assert sum(same) >= 10, "FFV1 of BGR is stored as YUV 4:2:0 by some builds"
    assert (outcome.inputs, len(quarantine)) == (12, 0)
    assert open_input(str(tmp_path / "film.avi"), model).count() == 12


def test_every_third_frame_of_a_video(trained, frames, tmp_path):
    film(tmp_path / "film.avi", frames)
    model = trained("classification")
    given = open_input(str(tmp_path / "film.avi"), trained("detection"), every=3)
    assert given.count() == 4
    outcome = predict_input(trained("detection"), given, tmp_path / "out", Options())
    samples = pd.read_parquet(tmp_path / "out" / "samples")["sample_id"].tolist()
    assert samples == [f"film.avi#{n:06d}" for n in (0, 3, 6, 9)]
    assert outcome.inputs == 4
    assert model.kind == "image"


def test_a_video_that_ends_too_early_is_told(trained, frames, tmp_path):
    film(tmp_path / "film.avi", frames * 4)
    data = (tmp_path / "film.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    outcome, _, samples, quarantine = done(trained("detection"), tmp_path / "cut.avi", tmp_path / "out")
    assert 0 < len(samples) < 48
    assert quarantine["reason"].tolist() == ["truncated video"]
    assert "48" in quarantine["detail"].iat[0]
    assert done(trained("detection"), tmp_path / "cut.avi", tmp_path / "out")[0].before == outcome.inputs


@pytest.fixture
def server(tmp_path):
    """Serves a folder by HTTP; gives the folder and the address."""
    (tmp_path / "www").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    handler.func.log_message = lambda *arguments: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield tmp_path / "www", f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_an_image_from_the_web(trained, server, sources, tmp_path):
    folder, address = server
    Image.fromarray(pixels_of(sources["classification"], 0)).save(folder / "one.png")
    outcome, found, _, _ = done(
        trained("classification"), f"{address}/one.png?size=1", tmp_path / "out", pictures=True
    )
    assert found["sample_id"].tolist() == [f"{address}/one.png?size=1"]
    assert outcome.samples == 1
    assert [path.name for path in (tmp_path / "out" / "pictures").rglob("*.jpg")] == ["one.png.jpg"]


def test_an_address_that_gives_nothing_or_no_image(trained, server, tmp_path):
    folder, address = server
    with pytest.raises(InputError, match="404"):
        done(trained("classification"), f"{address}/missing.png", tmp_path / "out")
    (folder / "page.png").write_text("<html>")
    outcome, _, _, quarantine = done(trained("classification"), f"{address}/page.png", tmp_path / "other")
    assert (outcome.samples, quarantine["reason"].tolist()) == (0, ["not an image"])


@pytest.mark.parametrize(
    ("task", "name", "content", "told"),
    [
        (
            "classification",
            "table.csv",
            "a,b\n1,2\n",
            r"a sensor table; classification_toy \(classification\) reads images",
        ),
        ("activity", "one.png", None, r"an image; activity_toy \(activity\) reads windows of sensor signals"),
        ("activity", "film.mp4", "x", "a video; activity_toy"),
        ("classification", "film.mp4", "x", "not a video that can be decoded"),
        ("classification", "model.bin", "x", "no known kind of input; known are .avi, .bmp"),
        ("classification", "empty/notes.txt", "x", "no image in it; known are .bmp"),
        ("activity", "empty/one.png", None, "no sensor table in it; known are .csv"),
        ("classification", None, None, "there is no such file or folder"),
    ],
)
def test_inputs_of_the_wrong_kind_are_refused(task, name, content, told, trained, tmp_path):
    given = tmp_path / "missing.png"
    if name:
        given = tmp_path / name
        given.parent.mkdir(exist_ok=True)
        given.write_text(content) if content else Image.new("L", (16, 16)).save(given)
    given = given.parent if name and "/" in name else given
    model = trained(task)
    with pytest.raises(InputError, match=told):
        done(model, given, tmp_path / "out")


def test_an_address_is_no_input_for_signals(trained):
    with pytest.raises(InputError, match="reads windows of sensor signals"):
        open_input("https://example.org/one.png", trained("activity"))


def test_signals_have_no_pictures_and_gans_predict_nothing(trained, tmp_path):
    (tmp_path / "one.csv").write_text("a,b,c,d,e,f\n")
    with pytest.raises(InputError, match="no pictures to draw on"):
        done(trained("activity"), tmp_path / "one.csv", tmp_path / "out", pictures=True)
    with pytest.raises(InputError, match="a gan makes images"):
        trained("gan")
