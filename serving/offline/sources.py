"""Where pictures are: folders, globs, tar files, Parquet files, QMNIST's own; here or at a URL."""

import os
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from fsspec.core import url_to_fs

from serving.offline.files import Files
from serving.offline.idx import IMAGES, idx_shards
from serving.offline.parquet import row_groups
from serving.offline.shards import Shard, SourceError
from serving.offline.tars import Tar, is_hidden

FILES = 2_000  # in a shard
ROOT = "QMNIST/raw"  # below a torchvision root


def find_shards(source: str, column: str | None = None) -> list[Shard]:
    """Cut a source into shards, always the same ones in the same order.

    Args:
        source: A folder, a glob, or a file; a path, or a URL that fsspec knows.
        column: Of Parquet files, the one with pictures; the only one of binary values if not given.

    Raises:
        SourceError: There is nothing, or a file is not what its name says.
    """
    filesystem, path = url_to_fs(source)
    if filesystem.isdir(path):
        below = f"{path.rstrip('/')}/{ROOT}"
        if filesystem.isdir(below):
            found = [p for p in filesystem.ls(below, detail=False) if p.endswith(f"test-{IMAGES}")]
        else:
            found = _files_below(path) if _is_local(filesystem) else filesystem.find(path)
    else:
        found = filesystem.glob(path)
    as_url = str if _is_local(filesystem) else filesystem.unstrip_protocol
    urls = [as_url(name) for name in sorted(found) if not is_hidden(name)]
    if not urls:
        raise SourceError(f"there are no files at {source}")
    shards: list[Shard] = []
    for kind, group in groupby(urls, _suffix):
        if kind == "tar":
            shards += [Tar(url, filesystem.size(url_to_fs(url)[1])) for url in group]
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


def names(shards: Sequence[Shard]) -> list[str]:
    """Describe shards, so that the same ones can be known again."""
    return [repr(shard) for shard in shards]


def _files_below(path: str) -> list[str]:
    # fsspec asks for the size of each, and more.
    folders = os.walk(path, onerror=_refuse, followlinks=True)
    return [f"{folder}/{name}" for folder, _, names in folders for name in names]


def _refuse(error: OSError) -> None:
    raise SourceError(f"{error.filename} cannot be read: {error.strerror}") from error


def _is_local(filesystem: Any) -> bool:  # noqa: ANN401  one of fsspec's
    known = filesystem.protocol
    return not {"file", "local"}.isdisjoint({known} if isinstance(known, str) else known)


def _suffix(url: str) -> str:
    if url.endswith(IMAGES):
        return "idx"
    return next((kind for kind in ("tar", "parquet") if url.lower().endswith(f".{kind}")), "")
