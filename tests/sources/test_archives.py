"""Archives by strangers: what is safe is unpacked, what is not is refused by name."""

import contextlib
import io
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cv_pipelines.errors import FetchError
from cv_pipelines.sources.archives import Unpacker

FILES = {"a.txt": b"one", "deep/er/b.bin": bytes(range(256)) * 999, "deep/empty": b""}


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def written(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def special(kind, link=""):
    info = tarfile.TarInfo("bad")
    info.type, info.linkname = kind, link
    return info


def link_in_zip():
    info = zipfile.ZipInfo("bad")
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.bz2", "tar.xz", "tgz", "zip"])
def test_what_was_packed_is_unpacked(tmp_path, ending):
    packed, folder = tmp_path / f"x.{ending}", tmp_path / "out"
    folder.mkdir()
    if ending == "zip":
        write_zip(packed, FILES)
    else:
        write_tar(packed, FILES, {"tar": "w", "tgz": "w:gz"}.get(ending, f"w:{ending[4:]}"))
    sizes = []
    Unpacker(folder, report=sizes.append).unpack(packed)
    assert written(folder) == FILES
    assert sorted(sizes) == sorted(map(len, FILES.values()))


def test_a_packed_folder_itself_is_no_file(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.txt").write_bytes(b"one")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(tmp_path / "set", ".")
    (tmp_path / "out").mkdir()
    Unpacker(tmp_path / "out").unpack(tmp_path / "x.tar")
    assert written(tmp_path / "out") == {"a.txt": b"one"}


def test_archives_in_an_archive_get_folders_of_their_names(tmp_path):
    inner = write_tar(tmp_path / "i.tar", FILES).read_bytes()
    packed = write_tar(tmp_path / "x.tar", {"n01.tar": inner, "sub/n02.tar": inner, "c": b"c"})
    (tmp_path / "out").mkdir()
    Unpacker(tmp_path / "out").unpack(packed, nested=True)
    wanted = {f"{folder}/{name}": data for folder in ("n01", "sub/n02") for name, data in FILES.items()}
    assert written(tmp_path / "out") == wanted | {"c": b"c"}


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "..", "..\\x", "C:\\x", "\\\\host\\x", "."])
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_a_member_outside_the_folder_is_refused(tmp_path, name, write):
    folder = tmp_path / "safe" / "out"
    folder.mkdir(parents=True)
    packed = write(tmp_path / "x.archive", {"good": b"g", name: b"bad"})
    with pytest.raises(FetchError, match=r"x\.archive: .* points out of the folder"):
        Unpacker(folder).unpack(packed)
    assert set(written(tmp_path)) <= {"x.archive", "safe/out/good"}


@pytest.mark.parametrize(
    "member",
    [
        special(tarfile.SYMTYPE, "/etc/passwd"),
        special(tarfile.LNKTYPE, "good"),
        special(tarfile.CHRTYPE),
        special(tarfile.FIFOTYPE),
    ],
    ids=["symlink", "hard link", "device", "fifo"],
)
def test_links_and_devices_are_refused(tmp_path, member):
    packed = write_tar(tmp_path / "x.tar", {"good": b"g", "bad": member})
    (tmp_path / "out").mkdir()
    with pytest.raises(FetchError, match="'bad' is a link or a device"):
        Unpacker(tmp_path / "out").unpack(packed)
    assert set(written(tmp_path / "out")) == {"good"}


def test_links_in_zip_files_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr(link_in_zip(), "/etc/passwd")
    with pytest.raises(FetchError, match="'bad' is a link"):
        Unpacker(tmp_path).unpack(tmp_path / "x.zip")


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
def test_a_bomb_is_refused_before_it_is_written(tmp_path, ending):
    zeros = {f"{i}": bytes(40 << 20) for i in range(2)}
    packed = tmp_path / f"x.{ending}"
    write_zip(packed, zeros) if ending == "zip" else write_tar(packed, zeros, "w:gz")
    (tmp_path / "out").mkdir()
    with pytest.raises(FetchError, match="unpacks to more than 10 times its size"):
        Unpacker(tmp_path / "out", growth=10).unpack(packed)
    assert sum(map(len, written(tmp_path / "out").values())) <= 64 << 20


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz", "tar.xz", "tar.bz2"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_archive_is_named(tmp_path, ending, damage):
    (tmp_path / "out").mkdir()
    packed = tmp_path / f"x.{ending}"
    write_zip(packed, FILES) if ending == "zip" else write_tar(packed, FILES, f"w:{ending[4:]}".rstrip(":"))
    data = packed.read_bytes()
    middle = len(data) // 2
    spoilt = {
        "cut": data[:middle],
        "flipped": data[:20] + bytes(b ^ 255 for b in data[20:60]) + data[60:],
        "empty": b"",
        "text": b"not found" * 200,
    }
    packed.write_bytes(spoilt[damage])
    with pytest.raises(FetchError, match=r"x\."):
        Unpacker(tmp_path / "out").unpack(packed)


def test_files_that_are_there_are_passed_over(tmp_path):
    packed = write_tar(tmp_path / "x.tar", FILES)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_bytes(b"ONE")
    (tmp_path / "out" / "a.txt.unpacking").write_bytes(b"half of what")
    Unpacker(tmp_path / "out").unpack(packed)
    assert written(tmp_path / "out")["a.txt"] == b"ONE"


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    packed = write_tar(tmp_path / "x.tar", {"a": b"1", "a/b": b"2"})
    (tmp_path / "out").mkdir()
    with pytest.raises(FetchError, match=r"x\.tar: cannot unpack a/b"):
        Unpacker(tmp_path / "out").unpack(packed)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.text(st.sampled_from("a./\\:~ \0é"), min_size=1, max_size=8), min_size=1, max_size=4)
)
def test_nothing_ever_lands_outside(tmp_path, names):
    outer = tmp_path / "outer"
    folder = outer / "out"
    folder.mkdir(parents=True, exist_ok=True)
    packed = write_tar(tmp_path / "x.tar", dict.fromkeys(names, b"1"))
    with contextlib.suppress(FetchError):
        Unpacker(folder).unpack(packed)
    assert {path.name for path in tmp_path.iterdir()} == {"outer", "x.tar"}
    assert {path.name for path in outer.iterdir()} == {"out"}
