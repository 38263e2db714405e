"""Sensor tables: which windows come out of a CSV file, and what is said of lines that cannot be used."""

import numpy as np
import pandas as pd
import pytest

from cv_pipelines.errors import BadSampleError, InputError
from cv_pipelines.inference import windows as tables
from cv_pipelines.inference.inputs import open_input
from cv_pipelines.inference.model import config_of
from cv_pipelines.inference.run import Options, predict_input
from cv_pipelines.inference.windows import RAW, SensorTable
from cv_pipelines.sources.signals import CHANNELS, nine_channels
from cv_pipelines.training.predict import predict


def frame(values, names="abcdef", **more):
    return pd.DataFrame(values, columns=list(names)).assign(**more)


def outcome(path, shape):
    """Read all windows of a table: their values by name, and why others cannot be read."""
    good, bad = {}, {}
    for one in SensorTable(path, shape).pending(()):
        try:
            good[one.name.split("#")[1]] = one.read().tensor.numpy()
        except BadSampleError as error:
            bad[one.name.split("#")[1]] = (error.reason, error.detail)
    return good, bad


@pytest.fixture
def recording():
    return np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32).astype(float)


@pytest.fixture(params=[7, 4096], ids=["small blocks", "one block"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK", request.param)


@pytest.mark.usefixtures("blocks")
def test_a_recording_is_cut_into_windows_that_overlap_by_half(recording, tmp_path):
    frame(recording).to_csv(tmp_path / "r.csv", index=False)
    good, bad = outcome(tmp_path / "r.csv", (6, 32))
    assert list(good) == ["0", "16", "32", "48", "64"]
    for start, values in good.items():
        np.testing.assert_array_equal(values, recording[int(start) : int(start) + 32].T.astype(np.float32))
    assert bad == {}


@pytest.mark.usefixtures("blocks")
def test_rows_of_one_window_share_its_number(recording, tmp_path):
    table = frame(recording[:96], window=np.repeat([3, 1, 12], 32), time=np.arange(96) / 50)
    table[["time", *"abc", "window", *"def"]].to_csv(tmp_path / "w.csv", index=False)
    good, bad = outcome(tmp_path / "w.csv", (6, 32))
    assert list(good) == ["3", "1", "12"]
    np.testing.assert_array_equal(good["1"], recording[32:64].T.astype(np.float32))
    assert bad == {}


@pytest.mark.usefixtures("blocks")
def test_a_bad_line_costs_the_windows_that_it_lies_in(recording, tmp_path):
    lines = frame(recording).to_csv(index=False).splitlines()
    lines[41] = "1,2,x,4,5,6"
    lines[95] = "1,2"
    (tmp_path / "r.csv").write_text("\n".join(lines) + "\n\n")
    good, bad = outcome(tmp_path / "r.csv", (6, 32))
    assert list(good) == ["0", "48"]
    assert bad["16"] == bad["32"] == ("not a number", "line 42: could not convert string to float: 'x'")
    assert bad["64"] == ("short row", "line 96: 2 values; expected 6")


@pytest.mark.usefixtures("blocks")
def test_windows_that_are_no_windows(recording, tmp_path):
    table = frame(recording[:99], window=[1] * 32 + [2] * 31 + [3] * 3 + [4] * 32 + [1])
    table.to_csv(tmp_path / "w.csv", index=False)
    lines = (tmp_path / "w.csv").read_text().splitlines()
    lines[70] = "1,2,3,4,5,inf,4"
    (tmp_path / "w.csv").write_text("\n".join(lines))
    good, bad = outcome(tmp_path / "w.csv", (6, 32))
    assert list(good) == ["1"]
    assert {name: reason for name, (reason, _) in bad.items()} == {
        "2": "wrong length",
        "3": "wrong length",
        "4": "not finite",
        "1~2": "repeated window",
    }
    assert bad["2"][1] == "31 rows; the model reads 32"


def test_channels_of_uci_har_are_found_by_name(tmp_path):
    values = np.random.default_rng(0).normal(size=(16, 9)).astype(np.float32)
    pd.DataFrame(values[:, ::-1], columns=CHANNELS[::-1]).to_csv(tmp_path / "h.csv", index=False, sep=";")
    good, _ = outcome(tmp_path / "h.csv", (9, 16))
    np.testing.assert_array_equal(good["0"], values.T)


@pytest.mark.usefixtures("blocks")
def test_what_a_phone_measures_is_pre_processed(tmp_path):
    measured = np.random.default_rng(0).normal(size=(200, 6))
    pd.DataFrame(measured, columns=RAW).iloc[:, ::-1].to_csv(tmp_path / "p.tsv", index=False, sep="\t")
    lines = (tmp_path / "p.tsv").read_text().splitlines()
    good, _ = outcome(tmp_path / "p.tsv", (9, 64))
    wanted = nine_channels(measured[:, :3], measured[:, 3:])
    assert list(good) == ["0", "32", "64", "96", "128"]
    np.testing.assert_allclose(good["96"], wanted[96:160].T, atol=1e-6)
    lines[100] = lines[100].replace("\t", "\tx", 1)
    (tmp_path / "p.tsv").write_text("\n".join(lines))
    good, bad = outcome(tmp_path / "p.tsv", (9, 64))
    assert (list(good), list(bad)) == (["0", "32", "128"], ["64", "96"])
    np.testing.assert_allclose(good["0"], wanted[:64].T, atol=0.5)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("1,2,3,4,5,6\n", "expected names of columns in the first line"),
        ("", "expected names of columns in the first line"),
        ("a,b,c\n1,2,3\n", "columns a, b, c; the model reads 6 channels, beside `window` and `time`"),
        ("a,b,c,d,e,a\n", "the model reads 6 channels"),
    ],
)
def test_tables_that_do_not_fit_the_model(content, told, tmp_path):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=told):
        outcome(tmp_path / "t.csv", (6, 32))


def test_windows_are_predicted_as_evaluate_predicts_the_samples(trained, checkpoint, sources, tmp_path):
    data, model = sources["activity"].only("test"), trained("activity")
    rows = [
        frame(data.read(index).numpy().T.astype(float), window=index) for index in range(len(data.samples))
    ]
    (tmp_path / "given").mkdir()
    pd.concat(rows[:5]).to_csv(tmp_path / "given" / "a.csv", index=False)
    pd.concat(rows[5:]).to_csv(tmp_path / "given" / "b.csv", index=False)
    given = open_input(str(tmp_path / "given"), model)
    found = predict_input(model, given, tmp_path / "out", Options(batch_size=3))
    table = pd.read_parquet(tmp_path / "out" / "predictions")
    saved = checkpoint("activity")
    wanted = predict(config_of(saved), sources["activity"], {0: saved})
    assert table["sample_id"].tolist() == [f"a.csv#{i}" for i in range(5)] + [
        f"b.csv#{i}" for i in range(5, 8)
    ]
    np.testing.assert_allclose(np.stack(table["probabilities"]), np.stack(wanted["probabilities"]), atol=1e-6)
    assert set(table["label"]) <= {"slow", "fast"}
    assert (found.inputs, found.defects) == (8, 0)
    again = predict_input(model, given, tmp_path / "out", Options())
    assert (again.before, again.inputs) == (8, 8)


def test_a_checkpoint_of_unknown_window_length_is_told(trained, tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c,d,e,f\n")
    with pytest.raises(InputError, match="does not say how long a window is; train it again"):
        open_input(str(tmp_path / "t.csv"), trained("activity", shape=False))
