"""ImageNet's class list in MATLAB's form, read in a process of its own: damaged files can crash scipy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from cv_pipelines.errors import BadSampleError

SECONDS = 60

# No import of this project, so that it runs whatever the path is that the project was found by.
_READ = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.RLIM_INFINITY))
import numpy as np
from scipy.io import loadmat
synsets = np.atleast_1d(loadmat(sys.argv[1], squeeze_me=True)["synsets"])
leaves = [s for s in synsets if int(s["num_children"]) == 0]
print(json.dumps([(int(s["ILSVRC2012_ID"]), str(s["WNID"]), str(s["words"])) for s in leaves]))
"""


def read_synsets(path: Path) -> dict[int, tuple[str, str]]:
    """Read the devkit's meta.mat.

    Returns:
        ILSVRC2012_ID to (synset, words), of the classes that have no children.

    Raises:
        BadSampleError: "unreadable list".
    """
    alone = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # each thread would take of the memory's bound
    command = [sys.executable, "-c", _READ, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, env=alone)
    except subprocess.TimeoutExpired:
        raise BadSampleError("unreadable list", f"not read in {SECONDS} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        crash = f"scipy crashed, signal {-done.returncode}" if done.returncode < 0 else said[0]
        raise BadSampleError("unreadable list", f"{crash}; expected the devkit's synsets")
    return {number: (wnid, words) for number, wnid, words in json.loads(done.stdout)}
