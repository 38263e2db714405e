"""The modules that the README shows do what it says."""

import re
from pathlib import Path

import pandas as pd
import torch

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf8")


def module(first_words):
    """Run the README's Python block that begins with these words."""
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names = {}
    exec(next(block for block in blocks if first_words in block.splitlines()[0]), names)
    return names


def test_the_format_reads_what_it_draws(tmp_path):
    shown = module("Pictures in one folder")
    truth = shown["write_sample"](tmp_path, n=8)
    (tmp_path / "dark_9.png").write_bytes(b"no image")
    tables = shown["read"](tmp_path)
    names = tables.categories.names("labels")
    found = {row.sample_id: [names[k] for k in row.labels] for row in tables.samples.itertuples()}
    assert found == truth.labels
    assert tables.quarantine["reason"].tolist() == ["not an image"]
    assert isinstance(tables.samples, pd.DataFrame)


def test_the_model_gives_a_row_of_outputs_for_each_image():
    model = module("Logistic regression")["build"](3, 5, grid=2)
    assert model(torch.zeros(4, 3, 16, 16)).shape == (4, 5)
