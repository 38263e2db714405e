from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from cv_pipelines.sources import digits


def test_all_digits_are_read():
    tables = digits.read()
    assert tables.arrays["images"].shape == (1797, 8, 8)
    assert tables.arrays["images"].dtype == np.uint8
    assert tables.samples["split"].unique().tolist() == ["train"]
    assert tables.samples["row"].tolist() == list(range(1797))
    assert tables.samples["labels"].str[0].tolist() == load_digits().target.tolist()
    assert tables.categories.names("labels") == [str(i) for i in range(10)]
    assert (tables.samples["group"] == tables.samples["sample_id"]).all()
    assert tables.quarantine.empty


def test_grey_is_scaled_to_a_byte():
    images = digits.read().arrays["images"]
    assert (images.min(), images.max()) == (0, 255)
    np.testing.assert_allclose(images / 255, load_digits().images / 16, atol=0.002)


def test_a_root_is_accepted_and_not_used():
    assert digits.read(Path("nowhere")).samples.equals(digits.read(None).samples)
