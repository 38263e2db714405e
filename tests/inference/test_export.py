"""Exported models say what the models say, without this project; what cannot be exported is refused."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from cv_pipelines import use
from cv_pipelines.errors import ExportError
from cv_pipelines.inference import export as exporting
from cv_pipelines.inference import int8
from cv_pipelines.inference.export import load_onnx, write_model
from cv_pipelines.inference.graphs import GRAPHS, check_exportable, graph_of
from cv_pipelines.inference.model import Trained, config_of
from cv_pipelines.tasks import TASKS, task_class
from cv_pipelines.training.predict import predict, scored_part

TASKS_THAT_EXPORT = [
    *("activity", "autoencoder", "classification", "segmentation"),
    pytest.param("landmarks", marks=pytest.mark.slow),  # its graph takes ten seconds to write
]


@pytest.fixture(scope="module")
def written(checkpoint, sources, tmp_path_factory):
    """Each task's model as ONNX file, written once: its graph, the file and what was said of it."""
    found = {}

    def get(task):
        if task not in found:
            graph = graph_of(Trained(checkpoint(task), "cpu"))
            path = tmp_path_factory.mktemp(task) / "model.onnx"
            found[task] = (
                graph,
                path,
                write_model(graph, scored_part(graph.trained[0].config, sources[task]), path, "onnx"),
            )
        return found[task]

    return get


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("task", TASKS_THAT_EXPORT)
def test_onnx_gives_the_scores_of_evaluate_from_raw_values(task, written, checkpoint, sources, experiment):
    graph, path, _ = written(task)
    part = scored_part(graph.trained[0].config, sources[task])
    found = int8.scored(graph, load_onnx(path), part)
    table = predict(experiment(task), sources[task], {0: checkpoint(task)}).drop(columns="seed")
    wanted = task_class(task).score(table, part, experiment(task).evaluate).values
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=2e-3, nan_ok=True), name


def test_a_file_says_what_goes_in_and_out(written):
    _, path, made = written("classification")
    props = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    contract = json.loads(props["contract"])
    assert contract == made.contract
    assert contract["classes"] == ["left", "right"]
    given = contract["input"]
    assert (given["name"], given["dtype"], given["size"]) == ("image", "uint8", [16, 16])
    wanted, made_of = session(path).get_inputs()[0], session(path).get_outputs()[0]
    assert (wanted.name, wanted.type, wanted.shape[1:]) == ("image", "tensor(uint8)", [1, 16, 16])
    assert (made_of.name, made_of.type) == ("probabilities", "tensor(float)")


@pytest.mark.parametrize("task", TASKS_THAT_EXPORT)
def test_any_number_of_samples_goes_in(task, written, sources):
    graph, path, made = written(task)
    one = graph.fitted(exporting.sample_of(graph, sources[task], 0))
    run = load_onnx(path)
    single = run(one[None])
    for count in (2, 5, 64):
        np.testing.assert_allclose(run(np.stack([one] * count)), np.repeat(single, count, axis=0), atol=1e-5)
    assert made.dynamic[0] == "batch"


def test_segmentation_takes_images_of_any_size(written, sources):
    graph, path, made = written("segmentation")
    assert made.dynamic == ["batch", "height", "width"]
    image = np.random.default_rng(0).integers(0, 255, (3, 3, 96, 64), np.uint8)
    with torch.inference_mode():
        wanted = graph(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(load_onnx(path)(image), wanted, atol=1e-4)


@pytest.mark.parametrize("task", TASKS_THAT_EXPORT)
def test_an_exported_program_says_the_same(task, trained, sources, tmp_path):
    graph, path = graph_of(trained(task)), tmp_path / "model.pt2"
    made = write_model(graph, scored_part(graph.trained[0].config, sources[task]), path, "torch")
    files = {"contract.json": ""}
    module = torch.export.load(path, extra_files=files).module()
    assert json.loads(files["contract.json"]) == made.contract
    inputs = torch.from_numpy(graph.fitted(exporting.sample_of(graph, sources[task], 1)))[None]
    torch.testing.assert_close(module(inputs), graph(inputs), atol=1e-4, rtol=0)


def test_the_mirror_image_is_averaged_inside(trained, sources, tmp_path):
    graph = graph_of(trained("classification", evaluate={"flip": True}))
    write_model(graph, sources["classification"], tmp_path / "model.onnx", "onnx")
    image = exporting.sample_of(graph, sources["classification"], 0)[None]
    run = load_onnx(tmp_path / "model.onnx")
    np.testing.assert_allclose(run(image), run(np.ascontiguousarray(image[..., ::-1])), atol=1e-5)


@pytest.mark.parametrize("outputs", [np.nan, 0.5002])
def test_a_file_with_other_outputs_is_not_kept(trained, sources, tmp_path, monkeypatch, outputs):
    graph = graph_of(trained("activity"))
    good = exporting.LOADERS["torch"]

    def load(path):
        run, calls = good(path), []

        def wrong_once(batch):
            calls.append(batch)
            return np.full((len(batch), 2), outputs) if len(calls) == 2 else run(batch)

        return wrong_once

    monkeypatch.setitem(exporting.LOADERS, "torch", load)
    with pytest.raises(ExportError, match=r"model\.pt2: an output differs by .*; at most 0\.0001 is allowed"):
        write_model(graph, sources["activity"], tmp_path / "model.pt2", "torch")
    assert list(tmp_path.iterdir()) == []


def test_a_detector_of_two_stages_is_refused(checkpoint):
    model = {"name": "faster_rcnn", "weights": "none", "min_size": 64, "max_size": 64}
    with pytest.raises(
        ExportError, match=r"model faster_rcnn: only `fcos`, .* and the YOLOs can be exported"
    ):
        graph_of(Trained(checkpoint("detection", model=model), "cpu"))


@pytest.mark.slow
def test_a_detector_takes_images_of_any_size_up_to_the_choice_among_boxes(written):
    graph, path, made = written("detection")
    assert made.dynamic == ["batch", "height", "width"]
    assert made.contract["boxes"]["strides"] == [16, 32]
    image = np.random.default_rng(0).uniform(0, 255, (3, 3, 96, 64)).astype(np.float32)
    found = load_onnx(path)(image)
    assert found.shape == (3, 6 * 4 + 3 * 2, 4 + 2)
    with torch.inference_mode():
        np.testing.assert_allclose(found, graph(torch.from_numpy(image)).numpy(), atol=1e-4)


@pytest.mark.slow
def test_scores_near_zero_are_the_models_own(trained, sources, tmp_path):
    graph = graph_of(trained("detection"))
    head = graph.task.model.net.head
    torch.nn.init.constant_(head.classification_head.cls_logits.bias, -18)
    inputs = next(exporting.example_batches(graph, sources["detection"]))
    with torch.inference_mode():
        assert 0 < graph(torch.from_numpy(inputs))[..., 4:].max() < 1e-3
    assert write_model(graph, sources["detection"], tmp_path / "model.onnx", "onnx").difference < 1e-5


def test_a_detector_whose_boxes_are_chosen_after_the_graph_otherwise_is_refused(trained):
    with pytest.raises(ExportError, match=r"detection_toy: evaluate\.flip: boxes of an image"):
        graph_of(trained("detection", evaluate={"flip": True}))
    with pytest.raises(ExportError, match=r"detection_toy: evaluate\.suppression: that choice"):
        graph_of(trained("detection", evaluate={"suppression": {"name": "soft_nms"}}))


@pytest.mark.parametrize("task", sorted(set(TASKS) - set(GRAPHS)))
def test_what_cannot_be_exported_is_refused_with_the_reason(task):
    reason = {"gan": "it makes images"}[task]
    with pytest.raises(ExportError, match=rf"toy \({task}\) cannot be exported: {reason}"):
        check_exportable("toy", task)


def test_a_missing_library_is_named_with_the_command_that_brings_it(trained, sources, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match=r"onnx is missing: pip install 'cv_pipelines\[export\]'"):
        write_model(graph_of(trained("activity")), sources["activity"], tmp_path / "model.onnx", "onnx")


@pytest.mark.parametrize("task", TASKS_THAT_EXPORT)
def test_eight_bits_are_written_and_measured(task, checkpoint, sources, tmp_path):
    report = use.export(checkpoint(task), sources[task], tmp_path, "onnx", with_int8=True)
    assert json.loads((tmp_path / f"{task}_toy.onnx.json").read_text()) == report
    measured = report["int8"]
    path = tmp_path / measured["file"]
    assert {node.op_type for node in onnx.load(str(path)).graph.node} >= {
        "QuantizeLinear",
        "DequantizeLinear",
    }
    full, small = measured["float32"], measured["int8"]
    assert small["bytes"] == path.stat().st_size
    assert (
        measured["score_loss"]
        == full["values"][measured["score_name"]] - small["values"][measured["score_name"]]
    )
    assert measured["speedup"] == pytest.approx(
        full["milliseconds_a_sample"] / small["milliseconds_a_sample"]
    )
    assert measured["n"] == len(scored_part(config_of(checkpoint(task)), sources[task]).samples)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [f"{task}_toy.onnx", path.name, f"{task}_toy.onnx.json"]
    )
