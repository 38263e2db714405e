"""Reading MATLAB's form of ImageNet's classes, whatever becomes of the process that does it."""

import numpy as np
import pytest
from scipy.io import savemat

from cv_pipelines.errors import BadSampleError
from cv_pipelines.sources import matlab

FIELDS = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]


def test_classes_without_children_are_read(tmp_path):
    rows = [(1, "n01", "tench, fish", 0), (2, "n02", "é", 0), (3, "n03", "animal", 2)]
    savemat(tmp_path / "meta.mat", {"synsets": np.array(rows, dtype=FIELDS)})
    assert matlab.read_synsets(tmp_path / "meta.mat") == {1: ("n01", "tench, fish"), 2: ("n02", "é")}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.kill(os.getpid(), 11)", "scipy crashed, signal 11"),
        ("import time; time.sleep(60)", "not read in"),
        ("raise KeyError('synsets')", "KeyError: 'synsets'"),
    ],
)
def test_a_crash_is_a_typed_error(tmp_path, monkeypatch, code, said):
    monkeypatch.setattr(matlab, "_READ", code)
    monkeypatch.setattr(matlab, "SECONDS", 3)
    with pytest.raises(BadSampleError, match=said):
        matlab.read_synsets(tmp_path / "meta.mat")
