"""Samples as dicts, and the promise that randomness is a function of (seed, epoch, index) alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import tv_tensors

from cv_pipelines.config import Named
from cv_pipelines.data.augment import Chain
from cv_pipelines.data.datasets import EpochSampler, SampleDataset, SourceData, sample_seed
from cv_pipelines.data.schema import Categories, annotations_table, categories_of, samples_table
from cv_pipelines.tasks.base import Task


def row(key, **more):
    return {"sample_id": key, "split": "train", "group": key, "labels": [], "content_hash": key, **more}


@pytest.fixture
def several(tmp_path):
    """Two RGB files 6×4 with several labels, boxes and masks of three classes, one of them void."""
    for i, key in enumerate("ab"):
        Image.new("RGB", (6, 4), (10 * i, 20, 30)).save(tmp_path / f"{key}.png")
        mask = np.array([[0, 1, 2, 0, 1, 2]] * 4, np.uint8)
        Image.fromarray(mask).save(tmp_path / f"{key}_mask.png")
    size = {"width": 6, "height": 4}
    samples = [
        row(k, media=f"{k}.png", target=f"{k}_mask.png", labels=labels, **size)
        for k, labels in (("a", [0, 2]), ("b", []))
    ]
    box = {"sample_id": "a", "w": 2, "h": 3, "area": 6, "x": 1, "y": 0.5}
    objects = [
        {**box, "category": 1},
        {**box, "category": 0, "iscrowd": True},
        {**box, "category": 2, "difficult": True},
        {**box, "category": 2, "x": 3},
    ]
    names = categories_of(["one", "two", "three"])
    categories = Categories(
        labels=names, objects=names, mask=names[:2], mask_lookup={"0": 0, "1": 1, "2": 255}, multi_label=True
    )
    return SourceData(samples_table(samples), annotations_table(objects), categories, root=tmp_path)


def same(one, two):
    return one.keys() == two.keys() and all(
        torch.equal(torch.as_tensor(one[k]), torch.as_tensor(two[k])) for k in one
    )


class TestTargets:
    """What a sample holds beside its image or signal."""

    def test_none_is_image_and_index_only(self, several):
        item = SampleDataset(several, "none")[1]
        assert set(item) == {"image", "index"}
        assert item["index"] == 1
        assert item["image"].shape == (3, 4, 6)
        assert item["image"].dtype == torch.uint8
        assert item["image"][:, 0, 0].tolist() == [10, 20, 30]

    def test_label_is_the_class_index(self, image_source):
        item = SampleDataset(image_source, "label")[3]
        assert item["label"] == 1
        assert item["image"].shape == (1, 16, 16)
        assert np.array_equal(item["image"][0], image_source.arrays["images"][3])

    def test_labels_are_a_one_a_class(self, several):
        data = SampleDataset(several, "labels")
        assert data[0]["label"].tolist() == [1.0, 0.0, 1.0]
        assert data[1]["label"].tolist() == [0.0, 0.0, 0.0]

    def test_mask_holds_class_indices_with_void(self, several):
        item = SampleDataset(several, "mask")[0]
        assert isinstance(item["mask"], tv_tensors.Mask)
        assert item["mask"].tolist() == [[0, 1, 255, 0, 1, 255]] * 4

    def test_a_cut_is_taken_from_the_whole_image(self, several):
        cut = Chain([Named.model_validate({"name": "resized_crop", "size": [4, 6], "scale": [1.0, 1.0]})])
        plain = Chain([Named(name="mirror")])
        whole = SampleDataset(several, "mask", augment=cut)[0]
        torch.testing.assert_close(SampleDataset(several, "mask", [2, 2], cut)[0]["mask"], whole["mask"])
        assert SampleDataset(several, "mask", [2, 2], plain)[0]["mask"].shape == (2, 2)

    def test_resize_scales_mask_by_nearest_and_boxes_with_the_image(self, several):
        mask = SampleDataset(several, "mask", size=[8, 12])[0]
        assert mask["image"].shape == (3, 8, 12)
        assert mask["mask"].shape == (8, 12)
        assert set(mask["mask"].unique().tolist()) == {0, 1, 255}
        found = SampleDataset(several, "boxes", size=[8, 12])[0]
        assert found["boxes"][0].tolist() == [2, 1, 6, 7]

    def test_boxes_are_corners_without_crowd_and_difficult_objects(self, several):
        item = SampleDataset(several, "boxes")[0]
        assert item["boxes"].tolist() == [[1, 0.5, 3, 3.5], [3, 0.5, 5, 3.5]]
        assert item["labels"].tolist() == [1, 2]
        assert item["boxes"].canvas_size == (4, 6)

    def test_an_image_without_objects_has_empty_boxes(self, several):
        item = SampleDataset(several, "boxes", augment=Chain([Named(name="boxes")]))[1]
        assert item["boxes"].shape == (0, 4)
        assert item["labels"].shape == (0,)

    def test_signal_is_float_with_its_label(self, signal_source):
        item = SampleDataset(signal_source, "label")[5]
        assert set(item) == {"signal", "label", "index"}
        assert item["signal"].shape == (6, 32)
        assert item["signal"].dtype == torch.float32
        assert np.array_equal(item["signal"], signal_source.arrays["signals"][5])

    def test_changing_an_item_leaves_the_packed_array_alone(self, image_source):
        before = image_source.arrays["images"][0].copy()
        SampleDataset(image_source, "none")[0]["image"].zero_()
        assert np.array_equal(image_source.arrays["images"][0], before)


class TestSourceData:
    """Choosing samples, and what a source says of itself."""

    def test_only_keeps_a_split_and_its_objects(self, box_source):
        part = box_source.only("val", "test")
        assert part.samples["split"].tolist() == ["val"] * 2 + ["test"] * 2
        assert part.annotations["sample_id"].tolist() == ["s06", "s07", "s08", "s09"]
        assert np.array_equal(part.read(0).permute(1, 2, 0), box_source.arrays["images"][6])

    def test_a_shape_is_told_where_all_samples_have_it(self, sources):
        assert sources["activity"].shape == [6, 32]
        assert sources["classification"].shape == [1, 16, 16]
        assert sources["detection"].shape == [3, 64, 64]
        samples = sources["detection"].samples
        mixed = replace(sources["detection"], samples=samples.assign(width=range(len(samples))))
        assert mixed.shape is None

    @pytest.mark.parametrize(
        ("source", "kind", "channels"),
        [("classification", "image", 1), ("detection", "image", 3), ("activity", "signal", 6)],
    )
    def test_kind_and_channels(self, sources, source, kind, channels):
        assert sources[source].kind == kind
        assert sources[source].channels == channels
        assert len(sources[source].read(0)) == channels

    def test_files_are_rgb(self, several):
        assert (several.kind, several.channels) == ("image", 3)


class TestDeterminism:
    """(seed, epoch, index) alone decides what an augmentation draws."""

    @pytest.fixture
    def data(self, image_source):
        augment = Chain([Named(name="small_image", padding=3, rotation=20.0, flip=True, erase=0.5)])
        return SampleDataset(image_source, "label", augment=augment, seed=7)

    def test_order_does_not_matter(self, data):
        keys = [(2, i) for i in range(8)]
        forth = [data[key] for key in keys]
        back = [data[key] for key in reversed(keys)][::-1]
        assert all(same(a, b) for a, b in zip(forth, back, strict=True))

    def test_epoch_and_seed_matter(self, data, image_source):
        other = SampleDataset(image_source, "label", augment=data.augment, seed=8)
        for changed in ([data[3, i] for i in range(8)], [other[2, i] for i in range(8)]):
            differ = [not same(data[2, i], item) for i, item in enumerate(changed)]
            assert sum(differ) >= 7  # an unlucky pair may draw alike

    def test_samples_draw_apart(self, signal_source):
        samples = replace(signal_source, arrays={"signals": np.ones((40, 6, 32), np.float32)})
        data = SampleDataset(samples, "none", augment=Chain([Named(name="signal")]))
        assert not torch.equal(data[0, 0]["signal"], data[0, 1]["signal"])

    def test_the_global_state_is_neither_used_nor_touched(self, data):
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = data[0, 0]
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(2)
        assert same(data[0, 0], first)

    def test_the_global_state_survives_a_failing_augmentation(self, image_source):
        def fail(item, another):
            torch.rand(3)
            raise ValueError("broken")

        state = torch.get_rng_state()
        with pytest.raises(ValueError, match="broken"):
            SampleDataset(image_source, "none", augment=fail)[0]
        assert torch.equal(torch.get_rng_state(), state)

    def test_a_plain_index_is_epoch_zero(self, data):
        assert same(data[4], data[0, 4])

    def test_loader_workers_change_nothing(self, data):
        def epoch(workers):
            sampler = EpochSampler(len(data), seed=3, epoch=1)
            return list(DataLoader(data, 8, sampler=sampler, num_workers=workers, collate_fn=Task.collate))

        alone, shared = epoch(0), epoch(2)
        assert len(alone) == len(shared) == 5
        assert all(same(a, b) for a, b in zip(alone, shared, strict=True))


@given(length=st.integers(1, 200), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_sampler_gives_a_permutation_of_seed_and_epoch_alone(length, seed, epoch):
    sampler = EpochSampler(length, seed, epoch)
    torch.rand(1)  # the global state moves on between the two
    first, again = list(sampler), list(EpochSampler(length, seed, epoch))
    assert first == again
    assert {e for e, _ in first} == {epoch}
    assert sorted(i for _, i in first) == list(range(length))
    assert len(sampler) == length


def test_sampler_shuffles_anew_with_epoch_and_seed():
    sampler = EpochSampler(50, seed=0)
    orders = [[i for _, i in sampler]]
    sampler.set_epoch(1)
    orders += [[i for _, i in sampler], [i for _, i in EpochSampler(50, seed=1)]]
    assert orders[0] != orders[1] != orders[2] != orders[0]


@given(
    st.tuples(st.integers(), st.integers(), st.integers()),
    st.tuples(st.integers(), st.integers(), st.integers()),
)
def test_sample_seeds_are_distinct_and_fit_into_63_bits(one, two):
    assert 0 <= sample_seed(*one) < 2**63
    assert (sample_seed(*one) == sample_seed(*two)) == (one == two)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_holds_each_image_whatever_its_layout(channels):
    pixels = torch.randint(256, (2, 5, 7, channels), dtype=torch.uint8)
    last, planar = pixels[0].permute(2, 0, 1), pixels[1].permute(2, 0, 1).contiguous()
    items = [
        {"image": tv_tensors.Image(image), "label": label, "index": label}
        for label, image in enumerate((last, planar))
    ]
    batch = Task.collate(items)
    assert type(batch["image"]) is torch.Tensor
    assert torch.equal(batch["image"], torch.stack([last, planar]))
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    assert batch["label"].tolist() == [0, 1]
