"""Pictures in figures: what is drawn where, looked at in the embedded images themselves."""

import base64
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cv_pipelines.data.encoding import encode_segmentation
from cv_pipelines.plots.gallery import Box, GalleryItem, gallery, signal_gallery
from cv_pipelines.plots.generative import reconstruction_pairs, sample_grid
from cv_pipelines.plots.predicted import predicted_item
from cv_pipelines.plots.rasters import display_scale, overlay, picture
from cv_pipelines.plots.theme import PREDICTION_RGB, RIGHT, WRONG

GREY = np.full((128, 128, 3), 120, dtype=np.uint8)


def embedded(figure, place=0):
    head, data = figure.layout.images[place].source.split(",", 1)
    return head, np.asarray(Image.open(BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def near(pixel, color, within=40):
    return np.abs(pixel - np.array(color)).max() <= within


def test_masks_of_sure_detections_tint_their_pixels_alone(box_source):
    inside = np.zeros((64, 64), bool)
    inside[40:56, 10:30] = True
    unsure = np.zeros((64, 64), bool)
    unsure[:8, :8] = True
    row = {"x": 10.0, "y": 40.0, "w": 20.0, "h": 16.0, "category": 0}
    rows = [
        row | {"score": 0.9, "segmentation": encode_segmentation(inside)},
        row | {"score": 0.1, "segmentation": encode_segmentation(unsure)},
        row | {"score": 0.8, "segmentation": None},
    ]
    before = predicted_item("detection", box_source, 0, None, "").image
    after = predicted_item("detection", box_source, 0, pd.DataFrame(rows), "").image
    assert (before != after).any(axis=2).tolist() == inside.tolist()
    assert (after[41:55, 11:29] == before[41:55, 11:29] // 2 + np.array(PREDICTION_RGB) // 2).all()
    assert (after[40, 10:30] == PREDICTION_RGB).all()


class TestBoxes:
    def test_truth_is_green_and_prediction_orange_at_their_places(self):
        item = GalleryItem(GREY, "a", [Box(20, 60, 90, 60, "cat")], [Box(20, 10, 90, 40, "dog", 0.5)])
        _, pixels = embedded(gallery([item], {}, columns=4))
        scale = pixels.shape[0] / 128
        assert near(pixels[round(60 * scale) + 2, round(70 * scale)], (22, 190, 98))
        row = pixels[round(10 * scale) + 1, round(30 * scale) : round(100 * scale)]
        assert any(near(p, (255, 140, 0)) for p in row)
        assert near(pixels[round(90 * scale), round(100 * scale)], (120, 120, 120), 12)

    def test_legend_names_only_what_is_drawn(self):
        figure = gallery([GalleryItem(GREY, "a", [Box(1, 1, 9, 9, "x")])], {})
        assert [t.name for t in figure.data if t.name] == ["truth"]

    def test_odd_boxes_do_not_break(self):
        boxes = [
            Box(-50, -50, 20, 20, ""),
            Box(0, 0, 0, 0, "zero"),
            Box(120, 120, 900, 900, "long name" * 30, 1.0),
        ]
        assert len(gallery([GalleryItem(GREY, "a", boxes, boxes)], {}).layout.images) == 1


COLORS = {"road": (255, 0, 0), "sky": (0, 0, 255)}


class TestMasks:
    def test_image_truth_and_prediction_side_by_side(self):
        truth, guess = np.zeros((128, 128), dtype=np.uint8), np.ones((128, 128), dtype=np.uint8)
        figure = gallery([GalleryItem(GREY, "a", truth_mask=truth, predicted_mask=guess)], COLORS)
        _, pixels = embedded(figure)
        height, width, _ = pixels.shape
        assert width > 2.9 * height
        plain, red, blue = (pixels[height // 2, width * k // 6] for k in (1, 3, 5))
        assert near(plain, (120, 120, 120), 8)
        assert red[0] > 180 > red[2]
        assert blue[2] > 180 > blue[0]
        assert [t.name for t in figure.data if t.name] == ["road", "sky"]

    def test_void_is_dark_and_named(self):
        void = np.full((128, 128), 255, dtype=np.uint8)
        figure = gallery([GalleryItem(GREY, "a", truth_mask=void)], COLORS)
        _, pixels = embedded(figure)
        assert pixels[pixels.shape[0] // 2, pixels.shape[1] * 3 // 4].max() < 80
        assert [t.name for t in figure.data if t.name] == ["void"]

    def test_there_is_no_column_for_what_no_sample_has(self):
        item = GalleryItem(GREY, "a", truth_mask=np.zeros((128, 128), dtype=np.uint8))
        other = GalleryItem(GREY, "b")
        figure = gallery([item, other], COLORS)
        _, pixels = embedded(figure)
        assert 1.9 < pixels.shape[1] / pixels.shape[0] < 2.2
        assert figure.layout.title.subtitle.text == "image · truth"
        _, without = embedded(figure, 1)
        assert without.shape == pixels.shape

    def test_mask_of_another_size_is_scaled_to_the_image(self):
        mask = np.array([[0, 1]], dtype=np.uint8)
        tinted = np.asarray(overlay(picture(GREY), mask, COLORS))
        assert tinted.shape == GREY.shape
        assert tinted[64, 10, 0] > tinted[64, 10, 2]
        assert tinted[64, 120, 2] > tinted[64, 120, 0]


class TestLabels:
    def test_lines_are_coloured_right_or_wrong(self):
        items = [
            GalleryItem(GREY, "one", truth="cat", prediction="cat", correct=True),
            GalleryItem(GREY, "two", truth="cat", prediction="<dog>", correct=False),
            GalleryItem(GREY, "three", truth="cat"),
        ]
        lines = {a.text: a.font.color for a in gallery(items, {}).layout.annotations}
        assert lines["✓ cat"] == RIGHT
        assert lines["✗ &lt;dog&gt; (true: cat)"] == WRONG
        assert lines["cat"] not in {RIGHT, WRONG}

    def test_small_images_are_enlarged_pixel_by_pixel_without_loss(self):
        digit = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
        head, pixels = embedded(gallery([GalleryItem(digit)], {}, columns=8))
        assert "png" in head
        step = pixels.shape[0] // 8
        assert step > 1
        assert (pixels[::step, ::step, 0] == digit).all()
        assert (pixels[step - 1 :: step, step - 1 :: step, 0] == digit).all()

    def test_large_images_are_embedded_small(self):
        noise = np.random.default_rng(0).integers(0, 255, (2000, 3000, 3), dtype=np.uint8)
        figure = gallery([GalleryItem(noise)] * 4, {}, columns=4)
        head, pixels = embedded(figure)
        assert "jpeg" in head
        assert max(pixels.shape) < 600
        assert len(figure.to_json()) < 1_000_000

    @pytest.mark.parametrize("image", [None, np.zeros((0, 0), dtype=np.uint8)])
    def test_missing_image_is_a_grey_field(self, image):
        _, pixels = embedded(gallery([GalleryItem(image, "gone")], {}))
        assert pixels.min() > 200

    def test_no_items_and_bad_shape(self):
        assert gallery([], {}).layout.annotations[0].text.startswith("no data:")
        with pytest.raises(ValueError, match="an image is"):
            gallery([GalleryItem(np.zeros((4, 4, 7), dtype=np.uint8))], {})

    def test_same_input_same_figure(self):
        items = [GalleryItem(GREY, "a", [Box(1, 2, 30, 40, "x")], [Box(1, 2, 30, 40, "x", 0.5)])]
        assert gallery(items, {}).to_json() == gallery(items, {}).to_json()


class TestSignals:
    signal = np.vstack([np.linspace(-1, 1, 128)] * 9)

    def test_nine_channels_lie_in_three_lanes(self):
        names = [f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"]
        figure = signal_gallery([(self.signal, "walk", True), (self.signal, "sit", False)], names, rate=50)
        assert len(figure.data) == 18
        assert figure.layout.yaxis.ticktext == ("body_acc", "body_gyro", "total_acc")
        assert [a.font.color for a in figure.layout.annotations] == [RIGHT, WRONG]
        assert figure.data[0].x[-1] == pytest.approx(2.54)
        assert [t.name for t in figure.data if t.showlegend] == ["x", "y", "z"]

    def test_lane_scale_is_shared_by_all_windows(self):
        figure = signal_gallery([(np.array([[0.0, 1.0]]), "a", None), (np.array([[0.0, 0.5]]), "b", None)])
        heights = [max(t.y) - min(t.y) for t in figure.data]
        assert heights[0] == pytest.approx(2 * heights[1], abs=1e-2)

    def test_flat_missing_and_nameless_signals(self):
        flat = np.full((3, 5), np.nan)
        figure = signal_gallery([(flat, "", None), (np.zeros((3, 5)), "b", True)])
        assert figure.data[0].y == (None,) * 5
        assert figure.layout.annotations[1].text == "✓ b"
        assert signal_gallery([]).layout.annotations[0].text.startswith("no data:")

    def test_channels_must_fit(self):
        with pytest.raises(ValueError, match=r"\(C, T\)"):
            signal_gallery([(np.zeros((3, 5)), "a", None), (np.zeros((2, 5)), "b", None)])
        with pytest.raises(ValueError, match="2 channel names"):
            signal_gallery([(np.zeros((3, 5)), "a", None)], ["x", "y"])


class TestGenerative:
    images = np.stack([np.full((28, 28), 10 * i, dtype=np.uint8) for i in range(20)])

    def test_samples_lie_row_by_row(self):
        _, pixels = embedded(sample_grid(self.images, columns=5))
        step_y, step_x = pixels.shape[0] / 4, pixels.shape[1] / 5
        centre = [
            [pixels[int((r + 0.5) * step_y), int((c + 0.5) * step_x), 0] for c in range(5)] for r in range(4)
        ]
        assert centre == (np.arange(20).reshape(4, 5) * 10).tolist()

    def test_originals_lie_above_reconstructions(self):
        _, pixels = embedded(reconstruction_pairs(self.images[:2], 255 - self.images[:2], columns=2))
        height = pixels.shape[0]
        assert pixels[height // 4, 5, 0] == 0
        assert pixels[3 * height // 4, 5, 0] == 255

    def test_large_sheets_say_how_many_are_shown(self):
        figure = sample_grid(np.zeros((500, 8, 8), dtype=np.uint8))
        assert figure.layout.title.subtitle.text == "100 of 500"

    def test_empty_and_unequal(self):
        assert sample_grid([]).layout.annotations[0].text.startswith("no data:")
        assert reconstruction_pairs([], []).layout.annotations[0].text.startswith("no data:")
        with pytest.raises(ValueError, match="2 originals but 1"):
            reconstruction_pairs(self.images[:2], self.images[:1])


@pytest.mark.parametrize(
    ("size", "scale"), [((8, 8), 50.0), ((300, 200), 1.0), ((800, 400), 0.5), ((400, 1), 1.0)]
)
def test_enlarging_is_by_whole_factors(size, scale):
    assert display_scale(size, 400) == scale
