import errno
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.offline.shards import Pixels, Sample, Shard, SourceError
from serving.offline.sources import find_shards
from serving.offline.tars import FILES
from tests.archives import TARS, mutations
from tests.pictures import drawn
from tests.serving.offline.conftest import DAMAGED, write_pixels, write_tar

SEVEN = drawn.encode(drawn.on_paper(7))


LARGEST = 100_000  # bytes per picture


def read(shards: list[Shard]) -> list[Sample | Pixels]:
    return [piece for shard in shards for piece in shard.read(LARGEST)]


def samples(shards: list[Shard]) -> list[Sample]:
    found = []
    for piece in read(shards):
        assert isinstance(piece, Sample)
        found.append(piece)
    return found


def encoded(shards: list[Shard]) -> dict[str, tuple[bytes | str, int]]:
    """Return the content (or error message) and the label of each picture, by file name."""
    return {
        path.rsplit("/", 1)[-1]: (content if isinstance(content, bytes) else str(content), label)
        for path, content, label in samples(shards)
    }


def pixels(shards: list[Shard]) -> list[Pixels]:
    found = []
    for piece in read(shards):
        assert isinstance(piece, Pixels)
        found.append(piece)
    return found


def test_a_folder_is_all_its_files_but_hidden_ones(folder: Path) -> None:
    (shard,) = find_shards(str(folder))
    assert shard.weight == 6
    found = [sample.path for sample in samples([shard])]
    names = ("2/drawing.png", "2/small.jpg", "7/drawing.png", "7/small.jpg", "damaged.png")
    assert found == [str(folder / name) for name in (*names, "notes.txt")]


def test_a_folder_named_for_a_digit_is_a_label(folder: Path) -> None:
    found = samples(find_shards(str(folder)))
    assert [sample.label for sample in found] == [2, 2, 7, 7, -1, -1]


def test_a_glob_and_a_single_file(folder: Path) -> None:
    assert len(encoded(find_shards(f"{folder}/*/*.jpg"))) == 1  # both files are named small.jpg
    assert find_shards(f"{folder}/*/*.jpg")[0].weight == 2
    assert find_shards(str(folder / "7" / "drawing.png"))[0].weight == 1


def test_a_folder_that_cannot_be_read_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """os.walk and fsspec would skip it silently."""
    scan = os.scandir

    def scandir(path: str) -> Any:  # noqa: ANN401  os.scandir's own
        if path.endswith("7"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(SourceError, match="7 cannot be read: Permission denied"):
        find_shards(str(folder))


def test_a_link_that_leads_back_is_not_followed(folder: Path) -> None:
    (folder / "7" / "loop").symlink_to(folder)
    (folder / "3").symlink_to(folder / "2")
    found = [sample.path for sample in samples(find_shards(str(folder)))]
    assert found == sorted(set(found))
    assert len(found) == 8  # the link 3 adds the two files of 2 again, with another label


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    assert encoded(find_shards(str(folder)))["pipe.png"] == ("it is not a file", -1)


def test_a_file_may_be_named_like_a_glob(folder: Path) -> None:
    (folder / "a[1].png").write_bytes(SEVEN)
    assert encoded(find_shards(f"{folder}/a[1].png")) == {"a[1].png": (SEVEN, -1)}


@pytest.mark.parametrize("source", ["zip://7.png::/tmp/a.zip", "nothing://a", "memory://a.tar"])
def test_a_url_that_cannot_be_read_is_an_error(source: str) -> None:
    with pytest.raises(SourceError):
        find_shards(source)


def test_a_file_that_goes_away_is_told(folder: Path) -> None:
    shards = find_shards(str(folder))
    (folder / "notes.txt").unlink()
    content, _ = encoded(shards)["notes.txt"]
    assert "No such file" in str(content)


def test_a_url() -> None:
    with fsspec.open("memory://pictures/7/drawing.png", "wb") as file:
        file.write(SEVEN)
    shards = find_shards("memory://pictures")
    assert encoded(shards) == {"drawing.png": (SEVEN, 7)}
    (sample,) = samples(shards)
    assert sample.path == "memory:///pictures/7/drawing.png"


def test_a_url_of_a_file_that_goes_away() -> None:
    filesystem = fsspec.filesystem("memory")
    for name in "abc":
        filesystem.pipe_file(f"/going/{name}.png", SEVEN)
    shards = find_shards("memory://going")
    filesystem.rm_file("/going/b.png")
    found = [sample.content for sample in samples(shards)]
    assert (found[0], found[2]) == (SEVEN, SEVEN)
    assert isinstance(found[1], FileNotFoundError)


def test_files_are_read_one_by_one(folder: Path) -> None:
    """A thousand photographs in memory would take gigabytes."""
    (shard,) = find_shards(str(folder))
    reading = shard.read(LARGEST)
    next(reading)
    for file in folder.glob("*/*.*"):
        file.unlink()
    (*gone, _, _) = reading
    assert [type(piece.content) for piece in gone if isinstance(piece, Sample)] == [
        FileNotFoundError
    ] * 3


def test_files_far_away_are_asked_for_sixteen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem = fsspec.filesystem("memory")
    for i in range(20):
        filesystem.pipe_file(f"/many/{i:02}.png", SEVEN)
    asked: list[int] = []
    cat_ranges = filesystem.cat_ranges

    def count(paths: list[str], *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  fsspec's
        asked.append(len(paths))
        return cat_ranges(paths, *arguments, **options)

    monkeypatch.setattr(filesystem, "cat_ranges", count)
    assert len(samples(find_shards("memory://many"))) == 20
    assert asked == [16, 4]


@pytest.mark.parametrize("kind", ["file", "url", "tar"])
def test_no_more_is_read_than_is_allowed(tmp_path: Path, kind: str) -> None:
    large = bytes(LARGEST + 5_000)
    source = str(tmp_path / "large.png")
    if kind == "file":
        Path(source).write_bytes(large)
    elif kind == "url":
        source = "memory://large/large.png"
        fsspec.filesystem("memory").pipe_file("/large/large.png", large)
    else:
        source = str(tmp_path / "large.tar")
        write_tar(Path(source), **{"large.png": large})
    (sample,) = samples(find_shards(source))
    assert sample.content == bytes(LARGEST + 1)


def test_many_files_are_many_shards(tmp_path: Path) -> None:
    for i in range(2_500):
        (tmp_path / f"{i:04}.png").touch()
    shards = find_shards(str(tmp_path))
    assert [shard.weight for shard in shards] == [2_000, 500]
    assert shards == find_shards(str(tmp_path))


def test_a_tar_of_webdatasets_samples(tmp_path: Path) -> None:
    files = {
        "a/001.png": SEVEN,
        "a/001.cls": b"7\n",
        "a/001.json": b"{}",
        "a/002.cls": b"dog",
        "a/002.jpg": DAMAGED,
        "a/.hidden": b"",
        "a/003.txt": b"alone",
    }
    write_tar(tmp_path / "digits-000.tar", **files)
    write_tar(tmp_path / "digits-001.tar", **{"004.png": SEVEN})
    shards = find_shards(f"{tmp_path}/digits-*.tar")
    assert len(shards) == 2
    assert encoded(shards) == {
        "001.png": (SEVEN, 7),
        "002.jpg": (DAMAGED, -1),
        "003.txt": (b"alone", -1),
        "004.png": (SEVEN, -1),
    }


def test_a_tar_that_ends_too_early_gives_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "digits.tar"
    write_tar(path, **{"1.png": SEVEN, "2.png": SEVEN})
    path.write_bytes(path.read_bytes()[:4_500])
    found = encoded(find_shards(str(path)))
    assert found["1.png"] == (SEVEN, -1)
    said, _ = found["digits.tar"]
    assert "the tar file is damaged here" in str(said)


@pytest.mark.parametrize("kept", [1_536, 2_048])
def test_a_tar_that_ends_between_two_pictures_is_told(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "digits.tar"
    write_tar(path, **{"1.png": DAMAGED, "2.png": DAMAGED})
    assert len(DAMAGED) <= 512  # one header and one block each
    path.write_bytes(path.read_bytes()[:kept])
    (*whole, last) = samples(find_shards(str(path)))
    assert [sample.content for sample in whole] == [DAMAGED] * (kept // 1_024)
    assert "the tar file is damaged here: unexpected end of data" in str(last.content)


@pytest.mark.parametrize("count", [3, 100])
def test_a_damaged_header_in_a_tar_is_told(tmp_path: Path, count: int) -> None:
    path = tmp_path / "digits.tar"
    write_tar(path, **{f"{i}.png": DAMAGED for i in range(count)})
    for place in range(1, count):
        content = bytearray(path.read_bytes())
        content[1_024 * place + 100] ^= 1
        (tmp_path / "other.tar").write_bytes(content)
        (*whole, last) = samples(find_shards(str(tmp_path / "other.tar")))
        assert len(whole) == place
        assert "the tar file is damaged here" in str(last.content)


@pytest.mark.parametrize(
    "records",
    [b"15 size=abcdef\n", b"0 x=1\n", b"22 GNU.sparse.map=a,b,\n", b"5 aaa" * 50, bytes(2_000_000)],
)
def test_a_damaged_header_before_a_header_loses_no_row(tmp_path: Path, records: bytes) -> None:
    path = tmp_path / "digits.tar"
    write_tar(path, **{"1.png": SEVEN})
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(records)
    damaged = header.tobuf(tarfile.GNU_FORMAT) + records + bytes(-len(records) % 512)
    one = path.read_bytes()[: 512 + -(-len(SEVEN) // 512) * 512]
    path.write_bytes(one + damaged + one + bytes(1_024))
    (whole, last) = samples(find_shards(str(path)))
    assert whole.content == SEVEN
    assert "the tar file is damaged here: a header is" in str(last.content)


def test_many_headers_before_a_picture_are_read_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "digits.tar"
    write_tar(path, **{"1.png": SEVEN})
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2
    named = header.tobuf(tarfile.GNU_FORMAT) + b"7.png".ljust(512, b"\0")
    path.write_bytes(named * 2_000 + path.read_bytes())
    assert encoded(find_shards(str(path))) == {"7.": (SEVEN, -1)}


def test_a_sparse_file_in_a_tar_is_a_row_with_an_error(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "digits.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("1.png")
        member.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": "0"}
        tar.addfile(member)
        member = tarfile.TarInfo("2.png")
        member.size = len(SEVEN)
        tar.addfile(member, io.BytesIO(SEVEN))
    assert encoded(find_shards(str(tmp_path))) == {
        "1.png": ("it is a sparse file, which is not supported", -1),
        "2.png": (SEVEN, -1),
    }


@pytest.mark.parametrize("name", ["", "/", "a/.b/", "..", "\0"])
def test_any_name_in_a_tar(tmp_path: Path, name: str) -> None:
    write_tar(tmp_path / "digits.tar", **{name: b"", "1.png": SEVEN})
    assert encoded(find_shards(str(tmp_path)))["1.png"] == (SEVEN, -1)


@pytest.mark.parametrize("kind", TARS)
def test_whatever_is_damaged_in_a_tar_ends_no_run(kind: str) -> None:
    filesystem = fsspec.filesystem("memory")
    for body in mutations(TARS[kind], 300):
        filesystem.pipe_file("/damaged/digits.tar", body)
        assert samples(find_shards("memory://damaged"))


def test_a_tar_that_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads return fewer bytes than requested, as over HTTP."""
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe_file("/pieces/digits.tar", TARS["pax"])
    whole = encoded(find_shards("memory://pieces"))
    opened = filesystem._open  # noqa: SLF001

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or -1, 100))

    monkeypatch.setattr(filesystem, "_open", lambda *a, **o: Slow(opened(*a, **o).read()))
    assert encoded(find_shards("memory://pieces")) == whole
    assert len(whole) == 4


def test_files_of_one_name_are_not_all_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "digits.tar"
    write_tar(path, **{f"scan.{i:03}.png": SEVEN for i in range(100)})
    (shard,) = find_shards(str(path))
    reading = shard.read(LARGEST)
    next(reading)
    os.truncate(path, 0)
    assert FILES <= len(list(reading)) < 50


def test_a_link_in_a_tar_is_a_row_with_an_error(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "digits.tar", "w") as tar:
        for name, kind in (("1.png", tarfile.REGTYPE), ("2.png", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "1.png"
            tar.addfile(member)
        member = tarfile.TarInfo("3.png")
        member.size = len(SEVEN)
        tar.addfile(member, io.BytesIO(SEVEN))
    assert encoded(find_shards(str(tmp_path))) == {
        "1.png": (b"", -1),
        "2.png": ("it is a link or something else that is not a file", -1),
        "3.png": (SEVEN, -1),
    }


def test_every_picture_of_a_sample_is_a_row(tmp_path: Path) -> None:
    files = {"1.png": SEVEN, "1.jpg": DAMAGED, "1.cls": b"7", "2.cls": b"3", "2.img.png": SEVEN}
    files |= {"3.HEIC": SEVEN, "4.avif": SEVEN}
    write_tar(tmp_path / "digits.tar", **files)
    assert encoded(find_shards(str(tmp_path))) == {
        "1.png": (SEVEN, 7),
        "1.jpg": (DAMAGED, 7),
        "2.img.png": (SEVEN, 3),
        "3.HEIC": (SEVEN, -1),
        "4.avif": (SEVEN, -1),
    }


def test_parquet_of_pixels(tmp_path: Path) -> None:
    path = tmp_path / "digits.parquet"
    images, labels = write_pixels(path, 9_000, rows=5_000)
    shards = find_shards(str(path))
    assert [shard.weight for shard in shards] == [5_000, 4_000]
    batches = pixels(shards)
    assert [len(batch.paths) for batch in batches] == [2_048, 2_048, 904, 2_048, 1_952]
    assert np.array_equal(np.concatenate([batch.images for batch in batches]), images)
    assert np.array_equal(np.concatenate([batch.labels for batch in batches]), labels)
    assert batches[-1].paths[-1] == f"{path}#8999"


def test_parquet_of_pixels_without_some(tmp_path: Path) -> None:
    path = tmp_path / "digits.parquet"
    images, _ = drawn.digits(3, seed=1)
    values = [images[0].tobytes(), None, images[2].tobytes()]
    pq.write_table(pa.table({"pixels": pa.array(values, pa.binary(784))}), path)
    (batch,) = pixels(find_shards(str(path)))
    assert batch.errors == {1: "this row is empty"}
    assert np.array_equal(batch.images[[0, 2]], images[[0, 2]])


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("sign", ["int", "uint"])
@pytest.mark.parametrize("last", [3, None])
def test_labels_of_any_integers(tmp_path: Path, sign: str, bits: int, last: int | None) -> None:
    path = tmp_path / "digits.parquet"
    labels = pa.array([7, last], f"{sign}{bits}")
    pq.write_table(pa.table({"image": [SEVEN, SEVEN], "label": labels}), path)
    found = [sample.label for sample in samples(find_shards(str(path)))]
    assert found == [7, -1 if last is None else last]


@pytest.mark.parametrize("kind", ["binary", "structure"])
def test_parquet_of_encoded_pictures(tmp_path: Path, kind: str) -> None:
    values: list[object] = [SEVEN, None, DAMAGED]
    if kind == "structure":  # the format of Hugging Face's data sets
        values = [{"bytes": value, "path": None} for value in values]
    path = tmp_path / "digits.parquet"
    pq.write_table(pa.table({"image": values, "label": [7, 1, None]}), path)
    assert encoded(find_shards(str(path))) == {
        "digits.parquet#0": (SEVEN, 7),
        "digits.parquet#1": ("this row is empty", 1),
        "digits.parquet#2": (DAMAGED, -1),
    }


def test_the_column_must_be_clear(tmp_path: Path) -> None:
    path = tmp_path / "digits.parquet"
    pq.write_table(pa.table({"one": [SEVEN], "other": [DAMAGED], "name": ["a"]}), path)
    with pytest.raises(SourceError, match="has 2 binary columns; choose one with --column"):
        find_shards(str(path))
    with pytest.raises(SourceError, match="has no binary column 'name'"):
        find_shards(str(path), "name")
    assert encoded(find_shards(str(path), "other")) == {"digits.parquet#0": (DAMAGED, -1)}


@pytest.mark.parametrize("kept", [0, 100, 3_000])
def test_a_damaged_parquet_file_is_a_row(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "digits.parquet"
    write_pixels(path, 100, rows=100)
    path.write_bytes(path.read_bytes()[:kept])
    ((said, _),) = encoded(find_shards(str(path))).values()
    assert "not a Parquet file" in str(said)


def test_parquet_that_is_damaged_in_the_middle_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "digits.parquet"
    write_pixels(path, 100, rows=100)
    content = bytearray(path.read_bytes())
    content[4:2_000] = bytes(1_996)
    path.write_bytes(content)
    ((said, _),) = encoded(find_shards(str(path))).values()
    assert "the Parquet file is damaged here" in str(said)


def test_qmnists_files(drawn_root: Path) -> None:
    shards = find_shards(str(drawn_root))
    assert [shard.group for shard in shards] == ["test"]
    images, labels = drawn.digits(1_000, seed=2)
    (batch,) = pixels(shards)
    assert np.array_equal(batch.images, images)
    assert np.array_equal(batch.labels, labels)
    assert batch.paths[-1] == "qmnist-test-images-idx3-ubyte#999"
    train = drawn_root / "QMNIST" / "raw" / "qmnist-train-images-idx3-ubyte"
    assert sum(shard.weight for shard in find_shards(str(train))) == 2_000


def test_the_official_files_two_parts_are_told_apart(tmp_path: Path) -> None:
    raw = tmp_path / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    drawn.write_idx(
        raw / "qmnist-test-images-idx3-ubyte", 0x08, np.zeros((60_000, 28, 28), np.uint8)
    )
    groups = [shard.group for shard in find_shards(str(tmp_path))]
    assert groups == ["test10k", "test50k"]


@pytest.mark.parametrize("length", [0, 3, 10, 20, 500])
@pytest.mark.parametrize("name", ["qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int"])
def test_a_truncated_idx_file_is_refused(tmp_path: Path, name: str, length: int) -> None:
    drawn.write_qmnist(tmp_path, train=20, test=20)
    file = tmp_path / "QMNIST" / "raw" / name
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(SourceError, match=f"{name} is not a"):
        find_shards(str(tmp_path))


def test_where_there_is_nothing(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "missing", tmp_path / "*.png"):
        with pytest.raises(SourceError, match="there are no files at"):
            find_shards(str(source))
