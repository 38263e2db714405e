"""Region proposals: that they find what was drawn, stay with the image, and are searched once."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from cv_pipelines.models.regions import proposals
from cv_pipelines.models.regions.proposals import Search, SelectiveSearch
from cv_pipelines.sources.scenes import draw_scene

SEARCH = Search(mode="fast", scale=100, limit=500, least_side=8, longest_side=500)


def drawn(count, size=(128, 128)):
    """Normalised images and the true boxes of their objects."""
    rng = np.random.default_rng(7)
    scenes = [draw_scene(rng, size, [k % 6, (k + 2) % 6]) for k in range(count)]
    images = [(torch.from_numpy(s.image).permute(2, 0, 1).float() - 127) / 128 for s in scenes]
    boxes = [torch.tensor([[o.x, o.y, o.x + o.w, o.y + o.h] for o in s.objects]).float() for s in scenes]
    return images, boxes


def recall(found, boxes, overlap):
    best = [box_iou(true, own).amax(dim=1) for true, own in zip(boxes, found, strict=True)]
    return float((torch.cat(best) >= overlap).float().mean())


@pytest.fixture(scope="module")
def scenes():
    return drawn(6)


@pytest.mark.parametrize("mode", ["single", "fast", "quality"])
def test_drawn_objects_are_proposed(scenes, mode):
    images, boxes = scenes
    chosen = slice(None) if mode != "quality" else slice(2)
    found = SelectiveSearch(replace(SEARCH, mode=mode), 10)(images[chosen])
    assert recall(found, boxes[chosen], 0.7) >= 0.9
    assert max(len(own) for own in found) < 500


def test_proposals_are_boxes_of_the_image_with_the_whole_image_first(scenes):
    (found,) = SelectiveSearch(SEARCH, 10)(scenes[0][:1])
    assert found.dtype == torch.float32
    assert found[0].tolist() == [0, 0, 128, 128]
    assert len(found.unique(dim=0)) == len(found)
    assert found.min() >= 0
    assert found.max() <= 128
    assert (found[:, 2:] - found[:, :2]).min() >= SEARCH.least_side


def test_a_mirrored_image_has_the_mirrored_proposals_without_a_second_search(scenes, monkeypatch):
    searched = []
    plain = proposals.proposals
    monkeypatch.setattr(proposals, "proposals", lambda *args: searched.append(1) or plain(*args))
    image, search = scenes[0][0], SelectiveSearch(SEARCH, 10)
    one, two, again = search([image, image.flip(-1), image])
    assert len(searched) == 1
    assert torch.equal(one, again)
    mirrored = torch.stack([128 - two[:, 2], two[:, 1], 128 - two[:, 0], two[:, 3]], dim=1)
    assert torch.equal(one, mirrored)


def test_only_so_many_images_are_remembered(scenes, monkeypatch):
    searched = []
    plain = proposals.proposals
    monkeypatch.setattr(proposals, "proposals", lambda *args: searched.append(1) or plain(*args))
    search = SelectiveSearch(replace(SEARCH, mode="single"), 2)
    first = search(scenes[0][:3])[0]
    assert torch.equal(search(scenes[0][:1])[0], first)
    search(scenes[0][:1])
    assert len(searched) == 4


def test_the_same_image_has_the_same_proposals_in_any_process(scenes):
    """OpenCV's own order is random."""
    one, two = (SelectiveSearch(replace(SEARCH, limit=12), 10)(scenes[0][:2]) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert [len(own) for own in one] == [12, 12]


def test_the_range_of_the_values_does_not_matter(scenes):
    image = scenes[0][0]
    search = SelectiveSearch(replace(SEARCH, mode="single"), 10)
    one, two = search([image, image * 128 + 127])
    assert torch.equal(one, two)


def test_large_images_are_searched_small(scenes):
    images = [torch.nn.functional.interpolate(image[None], scale_factor=4)[0] for image in scenes[0]]
    found = SelectiveSearch(replace(SEARCH, longest_side=128), 10)(images)
    assert recall(found, [4 * own for own in scenes[1]], 0.7) >= 0.9
    assert found[0][0].tolist() == [0, 0, 512, 512]


@pytest.mark.parametrize("shape", [(1, 1), (300, 1), (1, 300), (2, 700), (40, 40)])
@pytest.mark.parametrize("constant", [True, False])
def test_images_in_which_there_is_nothing_to_propose(shape, constant):
    image = torch.zeros(3, *shape) if constant else torch.randn(3, *shape)
    (found,) = SelectiveSearch(replace(SEARCH, least_side=50), 10)([image])
    assert found[0].tolist() == [0, 0, shape[1], shape[0]]
    assert len(found) == 1 or not constant


def test_without_opencvs_contributed_modules_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2.ximgproc", None)
    with pytest.raises(ImportError, match=r"cv_pipelines\[proposals\]"):
        SelectiveSearch(SEARCH, 10)
