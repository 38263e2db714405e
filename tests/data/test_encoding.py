"""Pictures and masks as PNG bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cv_pipelines.data.encoding import decode_png, encode_png

SIDES = st.integers(1, 12)
SHAPES = st.one_of(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES, st.just(3)))


@given(SHAPES.flatmap(lambda shape: arrays(np.uint8, shape)))
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost(image):
    again = decode_png(encode_png(image))
    assert again.dtype == np.uint8
    assert np.array_equal(again, image)


def test_the_bytes_are_a_png_and_small():
    data = encode_png(np.zeros((200, 300), np.uint8))
    assert data.startswith(b"\x89PNG")
    assert len(data) < 2000


def test_other_shapes_are_refused():
    with pytest.raises((TypeError, ValueError)):
        encode_png(np.zeros((2, 2, 7), np.uint8))
