import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cv_pipelines.data.images import read_mask, read_rgb
from cv_pipelines.errors import SourceError
from cv_pipelines.sources import oxford_pets

TRIMAP = np.array([[2, 2, 2, 2], [2, 3, 3, 2], [2, 3, 1, 3]], dtype=np.uint8)


def make(root, trainval="Abyssinian_1 1 1 1\n", test="pug_2 26 2 18\n", stems=("Abyssinian_1", "pug_2")):
    for folder in ("images", "annotations/trimaps", "annotations/xmls"):
        (root / folder).mkdir(parents=True)
    (root / "annotations/trainval.txt").write_text(trainval)
    (root / "annotations/test.txt").write_text(test)
    for stem in stems:
        Image.new("RGB", (4, 3), (9, 99, 200)).save(root / f"images/{stem}.jpg")
        Image.fromarray(TRIMAP).save(root / f"annotations/trimaps/{stem}.png")


def head(root, stem, name, corners):
    tags = ("xmin", "ymin", "xmax", "ymax")
    inner = "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(tags, corners, strict=True))
    text = f"<annotation><object><name>{name}</name><bndbox>{inner}</bndbox></object></annotation>"
    (root / f"annotations/xmls/{stem}.xml").write_text(text)


def reasons(tables):
    return sorted(tables.quarantine["reason"])


def test_breeds_are_37_in_official_order():
    assert len(set(oxford_pets.BREEDS)) == 37
    assert sum(name[0].isupper() for name in oxford_pets.BREEDS) == 12
    assert (oxford_pets.BREEDS[0], oxford_pets.BREEDS[36]) == ("Abyssinian", "yorkshire_terrier")


def test_breed_and_species_labels(tmp_path):
    make(tmp_path)
    head(tmp_path, "Abyssinian_1", "cat", (1, 1, 4, 2))
    breeds, species = oxford_pets.read(tmp_path), oxford_pets.read(tmp_path, labels="species")
    assert breeds.samples["labels"].tolist() == [[0], [25]]
    assert species.samples["labels"].tolist() == [[0], [1]]
    assert species.categories.names("labels") == ["cat", "dog"]
    assert breeds.categories.labels[25].id == "26"
    assert breeds.samples["split"].tolist() == ["train", "test"]
    assert breeds.annotations[["category", "x", "y", "w", "h"]].to_numpy().tolist() == [[0, 0, 0, 4, 2]]
    assert breeds.facts["samples_without_box"] == 1
    assert breeds.quarantine.empty


def test_masks(tmp_path):
    make(tmp_path)
    trimap, pet = oxford_pets.read(tmp_path), oxford_pets.read(tmp_path, mask="pet")
    path = tmp_path / trimap.samples["target"][0]
    assert read_mask(path, trimap.categories).tolist() == (TRIMAP - 1).tolist()
    assert read_mask(path, pet.categories).tolist() == [[0, 0, 0, 0], [0, 255, 255, 0], [0, 255, 1, 255]]
    assert pet.categories.names("mask") == ["background", "pet"]


@pytest.mark.parametrize(
    ("trimap", "reason"),
    [
        (None, "missing file"),
        (np.zeros((3, 4), np.uint8), "unknown mask value"),
        (TRIMAP[:2], "mask of another size"),
    ],
)
def test_bad_trimap_costs_only_the_target(tmp_path, trimap, reason):
    make(tmp_path)
    path = tmp_path / "annotations/trimaps/pug_2.png"
    path.unlink()
    if trimap is not None:
        Image.fromarray(trimap).save(path)
    tables = oxford_pets.read(tmp_path)
    assert tables.samples["target"].isna().tolist() == [False, True]
    assert reasons(tables) == [reason]


@pytest.mark.parametrize(
    ("name", "corners", "reason", "kept"),
    [
        ("cat", (3, 1, 3, 2), "box without area", 0),
        ("cat", (1, 1, 9, 2), "box outside image", 1),
        ("owl", (1, 1, 3, 2), "unknown class", 0),
        ("<cat", (1, 1, 3, 2), "unreadable XML", 0),
    ],
)
def test_bad_heads(tmp_path, name, corners, reason, kept):
    make(tmp_path)
    head(tmp_path, "Abyssinian_1", name, corners)
    tables = oxford_pets.read(tmp_path)
    assert (len(tables.samples), len(tables.annotations), reasons(tables)) == (2, kept, [reason])


def test_mislabelled_and_cmyk_images_stay(tmp_path):
    make(tmp_path)
    Image.new("P", (4, 3)).save(tmp_path / "images/Abyssinian_1.jpg", format="GIF")
    Image.new("CMYK", (4, 3)).save(tmp_path / "images/pug_2.jpg")
    tables = oxford_pets.read(tmp_path)
    assert len(tables.samples) == 2
    assert reasons(tables) == ["CMYK image", "mislabelled format"]


def test_list_oddities(tmp_path):
    good = ["#Image CLASS-ID SPECIES BREED ID", "", "Abyssinian_1 1 1 1"]
    bad = ["pug_9 38 1 1", "pug_9 26", "../x 1 1 1", "beagle_1 5 2 4"]
    make(tmp_path, trainval="\n".join(good + bad), test="Abyssinian_1 1 1 1\n")
    tables = oxford_pets.read(tmp_path)
    assert tables.samples["sample_id"].tolist() == ["Abyssinian_1"]
    assert tables.samples["split"].tolist() == ["test"]
    assert reasons(tables) == ["missing file", "test image in a train list", *["unreadable list line"] * 3]


def test_an_image_listed_twice_counts_once(tmp_path):
    make(tmp_path, trainval="Abyssinian_1 1 1 1\n" * 2)
    assert reasons(oxford_pets.read(tmp_path)) == ["listed twice"]


def test_trainval_images_without_a_box_file_are_noted(tmp_path):
    lines = "Abyssinian_1 1 1 1\nBengal_2 6 1 3\n"
    make(tmp_path, trainval=lines, stems=("Abyssinian_1", "Bengal_2", "pug_2"))
    assert oxford_pets.read(tmp_path).quarantine.empty  # whoever leaves out the folder wants no boxes
    head(tmp_path, "Abyssinian_1", "cat", (1, 1, 4, 2))
    tables = oxford_pets.read(tmp_path)
    (row,) = tables.quarantine.to_dict("records")
    assert (row["file"], row["action"]) == ("annotations/xmls/Bengal_2.xml", "noted")
    assert row["reason"] == "no box file"
    assert len(tables.samples) == 3


@pytest.mark.parametrize("kind", ["GIF", "PNG", "BMP"])
def test_the_official_images_that_are_no_jpeg_are_read_by_content(tmp_path, kind):
    make(tmp_path)
    Image.new("RGB", (4, 3), (9, 99, 200)).save(tmp_path / "images/pug_2.jpg", format=kind)
    tables = oxford_pets.read(tmp_path)
    (row,) = tables.quarantine.to_dict("records")
    assert (row["file"], row["reason"]) == ("images/pug_2.jpg", "mislabelled format")
    assert row["detail"].startswith(f"{kind} data")
    assert read_rgb(tmp_path / "images/pug_2.jpg")[0, 0].tolist() == pytest.approx([9, 99, 200], abs=26)


def test_missing_list_or_images_are_named(tmp_path):
    make(tmp_path, stems=())
    with pytest.raises(SourceError, match="images: none of 2"):
        oxford_pets.read(tmp_path)
    (tmp_path / "annotations/test.txt").unlink()
    with pytest.raises(SourceError, match=r"annotations/test\.txt"):
        oxford_pets.read(tmp_path)


def test_sample_has_six_breeds_heads_in_trainval_and_a_thin_border(tmp_path):
    oxford_pets.write_sample(tmp_path, n=12, size=(64, 64))
    tables = oxford_pets.read(tmp_path, labels="species")
    assert tables.samples["labels"].str[0].tolist() == [0, 1] * 6
    heads = set(tables.annotations["sample_id"])
    assert heads == set(tables.samples["sample_id"][tables.samples["split"] == "train"])
    listed = (tmp_path / "annotations/list.txt").read_text().splitlines()
    assert "pug_1 26 2 18" in listed
    assert len(listed) == 6 + 12
    for target in tables.samples["target"]:
        pet, border = (np.asarray(Image.open(tmp_path / target)) == value for value in (1, 3))
        assert pet.any()
        assert 0 < border.sum() < border.size / 3


class TestBoxedOnly:
    """For detectors: an image where nobody has looked for heads is not one without a head."""

    def test_images_without_a_usable_box_are_left_out(self, tmp_path):
        lines = "".join(f"Abyssinian_{k} 1 1 1\n" for k in (1, 2, 3))
        make(tmp_path, lines, stems=("Abyssinian_1", "Abyssinian_2", "Abyssinian_3", "pug_2"))
        head(tmp_path, "Abyssinian_1", "cat", (1, 1, 4, 2))
        head(tmp_path, "Abyssinian_3", "horse", (1, 1, 4, 2))
        tables = oxford_pets.read(tmp_path, samples="boxed")
        assert tables.samples["sample_id"].tolist() == ["Abyssinian_1"]
        assert tables.annotations["sample_id"].tolist() == ["Abyssinian_1"]
        assert tables.facts["samples"] == "images with a head box only"
        assert reasons(tables) == ["no box file", "unknown class"]

    def test_every_sample_has_an_object(self, tmp_path):
        oxford_pets.write_sample(tmp_path, n=24, size=(64, 64))
        tables = oxford_pets.read(tmp_path, samples="boxed")
        assert set(tables.samples["sample_id"]) == set(tables.annotations["sample_id"])
        assert set(tables.samples["split"]) == {"train"}

    def test_without_any_box_there_is_nothing_to_read(self, tmp_path):
        make(tmp_path)
        with pytest.raises(SourceError, match="no image has a usable head box"):
            oxford_pets.read(tmp_path, samples="boxed")


@pytest.mark.real_data
def test_real_subset():
    root = Path(os.environ.get("CV_PIPELINES_RAW", "")) / "oxford_pets"
    if "CV_PIPELINES_RAW" not in os.environ or not root.is_dir():
        pytest.skip("CV_PIPELINES_RAW is unset or has no oxford_pets/")
    tables = oxford_pets.read(root)
    assert (len(tables.samples), len(tables.annotations)) == (248, 85)
    assert tables.samples["split"].value_counts().to_dict() == {"train": 139, "test": 109}
    assert tables.samples["labels"].str[0].nunique() == 32
    assert tables.samples["target"].notna().all()
    assert len(tables.categories.labels) == 37
    assert set(tables.quarantine["reason"]) == {"no box file"}
    assert len(tables.quarantine) + 85 == 139
    boxed = oxford_pets.read(root, samples="boxed")
    assert (len(boxed.samples), len(boxed.annotations)) == (85, 85)
    official = [line.split() for line in (root / "annotations/list.txt").read_text().splitlines()[6:]]
    assert all(oxford_pets.BREEDS[int(k) - 1] == stem.rsplit("_", 1)[0] for stem, k, *_ in official)
