"""All back ends give what pycocotools gives, also where COCO's protocol is odd."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask

from cv_pipelines.metrics.coco import PROPOSALS, coco_scores, proposal_recall
from cv_pipelines.metrics.coco_backends import BACKENDS, Protocol, accumulated, installed, matched, named

OTHERS = [
    pytest.param(name, marks=pytest.mark.skipif(not installed(name), reason="the extra `eval` is not there"))
    for name in BACKENDS
    if name != "pycocotools"
]
TOLERANCE = {"hotcoco": 0.0, "faster-coco-eval": 1e-15}
H, W = 240, 320
TYPES = ["bbox", "segm", "keypoints"]


def triangle(box):
    x, y, w, h = box
    return [x, y, x + w, y, x + w / 2, y + h]


def run_lengths(box):
    packed = mask.merge(mask.frPyObjects([triangle(box)], H, W))
    return {"size": packed["size"], "counts": packed["counts"].decode()}


def pose(box, rng, n=17):
    x, y, w, h = box
    return np.stack([x + rng.random(n) * w, y + rng.random(n) * h, rng.integers(0, 3, n)], 1).ravel().tolist()


class World:
    """A truth and results that tests add to."""

    def __init__(self, n_images=3, n_classes=3):
        self.rng = np.random.default_rng(0)
        self.images = [{"id": i + 1, "width": W, "height": H} for i in range(n_images)]
        self.classes = [{"id": k + 1, "name": f"class {k}"} for k in range(n_classes)]
        self.objects, self.guesses = [], []

    def object(self, image, category, box, **more):
        points = pose(box, self.rng)
        entry = {
            "id": len(self.objects) + 1,
            "image_id": image,
            "category_id": category,
            "bbox": list(map(float, box)),
            "area": float(box[2] * box[3]),
            "iscrowd": 0,
            "segmentation": [triangle(box)],
            "keypoints": points,
            "num_keypoints": sum(v > 0 for v in points[2::3]),
        }
        self.objects.append(entry | more)
        return self

    def guess(self, image, category, score, box, near=None):
        points = self.objects[near]["keypoints"] if near is not None else pose(box, self.rng)
        moved = (np.array(points) + self.rng.normal(0, 1.5, len(points))).tolist()
        fields = {"bbox": list(map(float, box)), "segmentation": run_lengths(box), "keypoints": moved}
        self.guesses.append({"image_id": image, "category_id": category, "score": score, **fields})
        return self

    def lists(self, iou_type):
        field = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}[iou_type]
        names = ("image_id", "category_id", "score", field)
        found = [{name: row[name] for name in names} for row in self.guesses]
        return {"images": self.images, "annotations": self.objects, "categories": self.classes}, found


def crowded(n=40, seed=0, crowd=0.15, scores=lambda rng: rng.random(), n_classes=3):
    """Objects of all sizes, some of them crowds, with guesses near them and elsewhere."""
    rng, world = np.random.default_rng(seed), World(12, n_classes)
    for k in range(n):
        image, category = int(rng.integers(1, 12)), int(rng.integers(1, n_classes + 1))
        x, y = rng.uniform(0, 150, 2)
        w, h = rng.choice([12, 50, 100]) * rng.uniform(0.7, 1.3, 2)
        is_crowd = rng.random() < crowd
        shape = run_lengths((x, y, w, h)) if is_crowd else [triangle((x, y, w, h))]
        world.object(image, category, (x, y, w, h), iscrowd=int(is_crowd), segmentation=shape)
        for _ in range(rng.integers(0, 4)):
            bx, by, bw, bh = np.array([x, y, w, h]) * rng.normal(1, 0.06, 4)
            kind = category if rng.random() < 0.8 else int(rng.integers(1, n_classes + 1))
            world.guess(image, kind, float(scores(rng)), (bx, by, max(bw, 1), max(bh, 1)), k)
    return world


def many():
    """One image with 150 objects and 450 guesses of a class: no more than 100 of them may count."""
    rng, world = np.random.default_rng(1), World(n_images=2, n_classes=1)
    for k in range(150):
        box = (*rng.uniform(0, 200, 2), *rng.uniform(10, 40, 2))
        world.object(1, 1, box)
        for _ in range(3):
            world.guess(1, 1, float(rng.random()), np.array(box) + rng.normal(0, 1, 4).clip(-5, 5), k)
    return world


def edges():
    """Areas at 32² and 96² and beside them; areas that are not those of the boxes."""
    world = World(n_images=8, n_classes=1)
    sides = [31.99, 32.0, 32.01, 95.99, 96.0, 96.01, 40.0, 100.0]
    for i, side in enumerate(sides, start=1):
        area = {"area": 1.0} if i > 6 else {}
        world.object(i, 1, (5, 5, side, side), **area)
        world.guess(i, 1, 0.9 - i / 20, (5, 5, side, side), i - 1)
        world.guess(i, 1, 0.3, (5, 5, side * 0.8, side), i - 1)
    return world


def odd_ids():
    """Ids with gaps, in no order; results and objects of a class that is not listed."""
    world = crowded(seed=4)
    renamed = {1: 90, 2: 3, 3: 17}
    for row in [*world.objects, *world.guesses]:
        row["category_id"] = renamed[row["category_id"]]
    world.classes = [{"id": renamed[c["id"]], "name": c["name"]} for c in world.classes]
    world.object(1, 55, (10, 10, 40, 40)).guess(1, 55, 0.9, (10, 10, 40, 40))
    world.guess(2, 77, 0.99, (10, 10, 40, 40))
    world.images = world.images[::-1]
    return world


def ignored():
    """The mark `ignore` of other formats, which pycocotools overwrites by `iscrowd`."""
    world = crowded(seed=5)
    for row in world.objects[::3]:
        row["ignore"] = 1
    return world


def hidden():
    """Poses of which no point is marked, and detections that find them."""
    world = crowded(seed=6)
    for row in world.objects[::2]:
        row["keypoints"] = [0.0] * 51
        row["num_keypoints"] = 0
    return world


def found_nothing():
    world = crowded(seed=7)
    world.guesses = []
    return world


def without_objects():
    """Detections on images without any object, and a class that occurs in detections alone."""
    world = World(n_images=4)
    world.object(1, 1, (10, 10, 50, 50)).guess(1, 1, 0.5, (10, 10, 50, 50), 0)
    for image in (2, 3):
        world.guess(image, 1, 0.9, (10, 10, 50, 50)).guess(image, 2, 0.8, (20, 20, 60, 60))
    return world


def two_crowds_under_one_guess():
    """A guess that lies in two crowds and on an object; the object is what counts."""
    world = World(n_images=1, n_classes=1)
    world.object(1, 1, (0, 0, 200, 200), iscrowd=1, segmentation=run_lengths((0, 0, 200, 200)))
    world.object(1, 1, (50, 20, 60, 60))
    world.object(1, 1, (20, 0, 150, 150), iscrowd=1, segmentation=run_lengths((20, 0, 150, 150)))
    for score, box in [(0.9, (52, 22, 60, 60)), (0.8, (50, 20, 60, 60)), (0.7, (60, 30, 20, 20))]:
        world.guess(1, 1, score, box, 1)
    return world


CASES = {
    "crowds": crowded,
    "ties in score": lambda: crowded(seed=1, scores=lambda rng: rng.choice([0.25, 0.5, 0.75])),
    "all scores equal": lambda: crowded(seed=2, scores=lambda rng: 0.5),
    "scores beyond 0 to 1": lambda: crowded(seed=3, scores=lambda rng: rng.normal(0, 9)),
    "more than 100 detections": many,
    "area ranges": edges,
    "odd ids": odd_ids,
    "ignore": ignored,
    "points not shown": hidden,
    "nothing found": found_nothing,
    "images and classes without objects": without_objects,
    "several crowds": two_crowds_under_one_guess,
    "only crowds": lambda: crowded(seed=8, crowd=1.0),
    "many classes": lambda: crowded(seed=9, n_classes=25),
    "no image": lambda: World(n_images=0),
    "no object": lambda: World().guess(1, 1, 0.9, (0, 0, 9, 9)),
}


def assert_same(lists, protocol, backend):
    """Equal, but for what faster-coco-eval rounds otherwise: one unit in the last place."""
    expected = accumulated(*lists, protocol, "pycocotools")
    before = copy.deepcopy(lists)
    found = accumulated(*lists, protocol, backend)
    assert lists == before
    for name in ("classes", "areas", "max_detections"):
        assert getattr(found, name) == getattr(expected, name)
    for name in ("precision", "recall"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE[backend])


@pytest.mark.parametrize("iou_type", TYPES)
def test_some_classes_at_a_time_are_all_at_once(iou_type):
    truth, found = crowded(seed=9, n_classes=25).lists(iou_type)
    whole = matched(truth, found, iou_type)
    whole.accumulate()
    parts = accumulated(truth, found, Protocol(iou_type), "pycocotools")
    assert parts.classes == tuple(range(1, 26))
    np.testing.assert_array_equal(parts.precision, whole.eval["precision"])
    np.testing.assert_array_equal(parts.recall, whole.eval["recall"])


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("iou_type", TYPES)
@pytest.mark.parametrize("case", CASES)
def test_equal_to_pycocotools(case, iou_type, backend):
    lists = CASES[case]().lists(iou_type)
    assert_same(lists, Protocol(iou_type), backend)
    values, details = coco_scores(*lists, iou_type, backend)
    expected, expected_details = coco_scores(*lists, iou_type)
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-15, nan_ok=True), name
    for ours, theirs in zip(details["per_class"], expected_details["per_class"], strict=True):
        assert ours == {k: v if k == "name" else pytest.approx(v, nan_ok=True) for k, v in theirs.items()}
    assert details["pr_curves"].keys() == expected_details["pr_curves"].keys()


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("case", ["crowds", "more than 100 detections", "ties in score", "odd ids"])
def test_proposals_are_equal(case, backend):
    lists = CASES[case]().lists("bbox")
    assert_same(lists, Protocol(max_detections=(1, 7, 300)), backend)
    ours, theirs = proposal_recall(*lists, backend), proposal_recall(*lists)
    for name, values in theirs.items():
        assert ours[name] == pytest.approx(values, nan_ok=True), name


@pytest.mark.parametrize("backend", OTHERS)
def test_poses_of_other_than_17_points_are_equal(backend):
    world = World(n_images=2, n_classes=1)
    for image in (1, 2):
        points = pose((10, 10, 80, 80), world.rng, 5)
        world.object(image, 1, (10, 10, 80, 80), keypoints=points, num_keypoints=5)
        world.guess(image, 1, 0.5 + image / 10, (10, 10, 80, 80), image - 1)
    truth, found = world.lists("keypoints")
    protocol = Protocol("keypoints", sigmas=(0.05,) * 5)
    assert_same((truth, found), protocol, backend)
    wide, _ = coco_scores(truth, found, "keypoints", backend, (0.5,) * 5)
    narrow, _ = coco_scores(truth, found, "keypoints", backend, (0.001,) * 5)
    assert wide["keypoint_map"] == pytest.approx(1)
    assert narrow["keypoint_map"] == 0


corners = st.integers(0, 60)
sides = st.sampled_from([1, 8, 31, 32, 33, 64, 96, 97])
boxes = st.tuples(corners, corners, sides, sides)
drawn_objects = st.tuples(st.integers(1, 3), st.integers(1, 3), boxes, st.booleans())
drawn_guesses = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(0, 4), boxes)


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@settings(max_examples=25, deadline=None)
@given(objects=st.lists(drawn_objects, max_size=8), guesses=st.lists(drawn_guesses, max_size=12))
def test_equal_on_whatever_is_drawn(backend, iou_type, objects, guesses):
    # whole coordinates and few scores make overlaps at a threshold, and ties, likely
    world = World()
    for image, category, box, crowd in objects:
        more = {"iscrowd": 1, "segmentation": run_lengths(box)} if crowd else {}
        world.object(image, category, box, **more)
    for image, category, score, box in guesses:
        world.guess(image, category, score / 4, box)
    assert_same(world.lists(iou_type), Protocol(iou_type), backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_unknown_images_are_refused_by_all(backend):
    truth, found = crowded().lists("bbox")
    with pytest.raises(ValueError, match="unknown images"):
        coco_scores(truth, [found[0] | {"image_id": 999}], "bbox", backend)


def test_recall_grows_with_the_number_of_proposals():
    truth, found = many().lists("bbox")
    recall = proposal_recall(truth, found)
    assert recall["n"] == list(PROPOSALS)
    assert recall["all"] == sorted(recall["all"])
    # one image with 150 objects, each found by three of 450 guesses: no more of them than guesses can be
    assert recall["all"][0] <= 1 / 150
    assert recall["all"][-1] > 2 * recall["all"][2]
    assert np.isnan(recall["large"]).all()


def test_proposals_need_no_class():
    world = World(n_images=1, n_classes=2).object(1, 1, (10, 10, 40, 40)).guess(1, 2, 0.9, (10, 10, 40, 40))
    truth, found = world.lists("bbox")
    assert proposal_recall(truth, found)["all"] == [1.0] * 5
    assert coco_scores(truth, found)[0]["ar_100"] == 0


def test_names_carry_versions():
    assert named("pycocotools").startswith("pycocotools 2.")
