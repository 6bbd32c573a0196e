"""Splits sources into shards: folders, globs, tar, Parquet and QMNIST files, local or remote."""

import os
from collections.abc import Sequence
from glob import has_magic
from itertools import groupby
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

from serving.offline.files import Files
from serving.offline.idx import IMAGES, idx_shards
from serving.offline.parquet import row_groups
from serving.offline.shards import Shard, SourceError, is_hidden
from serving.offline.tars import PICTURES, Tar

FILES = 2_000  # per shard
ROOT = "QMNIST/raw"  # below a torchvision root


def find_shards(source: str, column: str | None = None) -> list[Shard]:
    """Split a source into shards, always the same ones in the same order.

    Args:
        source: A folder, a glob or a file: a path, or a URL that fsspec can open.
        column: The column of Parquet files with pictures; by default the only binary one.

    Raises:
        SourceError: There are no files, or a file does not have the format of its name.
    """
    if "::" in source:
        raise SourceError(f"{source} is a chained URL; unpack the archive first")
    try:
        filesystem, path = url_to_fs(source)
    except (ValueError, ImportError) as error:
        raise SourceError(f"{source} cannot be read: {error}") from error
    as_url = str if _is_local(filesystem) else filesystem.unstrip_protocol
    found = _find(filesystem, path)
    urls = [as_url(name) for name in sorted(found) if not is_hidden(name)]
    if not urls:
        raise SourceError(f"there are no files at {source}")
    shards: list[Shard] = []
    for kind, group in groupby(urls, _suffix):
        if kind == "tar":
            shards += [Tar(url, _size(filesystem, url)) for url in group]
        elif kind == "parquet":
            for url in group:
                shards += row_groups(url, column)
        elif kind == "idx":
            for url in group:
                shards += idx_shards(url)
        else:
            files = tuple(group)
            starts = range(0, len(files), FILES)
            shards += [Files(source, files[start : start + FILES]) for start in starts]
    return shards


def _find(filesystem: Any, path: str) -> list[str]:  # noqa: ANN401  an fsspec filesystem
    # Some remote filesystems must list a whole folder to know that it is one.
    is_file = Path(path).is_file() if _is_local(filesystem) else _is_named_as_a_file(path)
    if is_file:
        return [path]
    if not filesystem.isdir(path):
        return list(filesystem.glob(path))
    below = f"{path.rstrip('/')}/{ROOT}"
    if filesystem.isdir(below):
        return [p for p in filesystem.ls(below, detail=False) if p.endswith(f"test-{IMAGES}")]
    return _files_below(path) if _is_local(filesystem) else list(filesystem.find(path))


def _is_named_as_a_file(path: str) -> bool:
    suffix = path.rpartition(".")[2].lower()
    return not has_magic(path) and bool(_suffix(path) or suffix in PICTURES)


def _size(filesystem: Any, url: str) -> int:  # noqa: ANN401  an fsspec filesystem
    try:
        return filesystem.size(url_to_fs(url)[1]) or 1  # not every server reports a size
    except FileNotFoundError as error:
        raise SourceError(f"there is no file at {url}") from error


def names(shards: Sequence[Shard]) -> list[str]:
    """Return descriptions of shards, by which a later run recognises them."""
    return [repr(shard) for shard in shards]


def _files_below(path: str) -> list[str]:
    # fsspec would also query each file's size.
    found = []
    for folder, folders, names in os.walk(path, onerror=_refuse, followlinks=True):
        folders[:] = [name for name in folders if not _leads_back(folder, f"{folder}/{name}")]
        found += [f"{folder}/{name}" for name in names]
    return found


def _leads_back(folder: str, path: str) -> bool:
    """Whether a subfolder is a link to its folder or one above."""
    if not Path(path).is_symlink():
        return False
    return f"{os.path.realpath(folder)}/".startswith(os.path.realpath(path).rstrip("/") + "/")


def _refuse(error: OSError) -> None:
    raise SourceError(f"{error.filename} cannot be read: {error.strerror}") from error


def _is_local(filesystem: Any) -> bool:  # noqa: ANN401  an fsspec filesystem
    known = filesystem.protocol
    return not {"file", "local"}.isdisjoint({known} if isinstance(known, str) else known)


def _suffix(url: str) -> str:
    if url.endswith(IMAGES):
        return "idx"
    return next((kind for kind in ("tar", "parquet") if url.lower().endswith(f".{kind}")), "")
