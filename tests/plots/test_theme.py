"""Names, numbers and colours as people see them."""

import math

import pytest

from cv_pipelines.plots import theme


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.9312, "0.931"),
        (12.3, "12.30"),
        (1234.4, "1,234"),
        (0.00021, "0.00021"),
        (-0.5, "-0.500"),
        (0.0, "0.000"),
        (math.inf, "∞"),
        (math.nan, "n/a"),
        (None, "n/a"),
    ],
)
def test_number_is_written_for_people(value, text):
    assert theme.number(value) == text


def test_plain_text_cannot_carry_markup_and_says_when_it_is_cut():
    assert theme.plain("<b>cat</b>") == "&lt;b&gt;cat&lt;/b&gt;"
    assert theme.plain("a long class name", 7) == "a long…"


def test_class_colors_keep_index_order_and_repeated_names():
    table = theme.class_colors(["crane", "dog", "crane"], [(1, 2, 3), None, None])
    assert list(table) == ["crane", "dog", "crane (2)"]
    assert table["crane"] == (1, 2, 3)
    assert len(set(table.values())) == 3


def test_spread_colors_are_valid_and_differ():
    colors = [theme.spread_color(i) for i in range(40)]
    assert len(set(colors)) == 40
    assert all(0 <= c <= 255 for color in colors for c in color)


def test_no_data_figure_says_why():
    figure = theme.no_data("Title", "nothing <here>")
    assert figure.layout.annotations[0].text == "no data: nothing &lt;here&gt;"
    assert figure.layout.title.text == "Title"
