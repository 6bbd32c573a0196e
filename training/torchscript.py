"""Reads and writes TorchScript, which PyTorch has deprecated.

The project needs it for the artifact's TorchScript file. When PyTorch removes it, this module and
that file can be deleted.
"""

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import torch
from torch import nn


def save(module: nn.Module, path: Path) -> None:
    """Compile a module and write it to `path`."""
    compiled = BytesIO()
    with _deprecation_known():
        torch.jit.save(torch.jit.script(module), compiled)
    with zipfile.ZipFile(compiled) as archive, zipfile.ZipFile(path, "w") as stripped:
        for entry in archive.infolist():
            # Optional tables of source lines, which contain this machine's paths.
            if not entry.filename.endswith(".debug_pkl"):
                stripped.writestr(entry, archive.read(entry))


def load(path: Path) -> torch.jit.ScriptModule:
    """Read a module that `save` wrote."""
    with _deprecation_known():
        module: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu")
        return module


@contextmanager
def _deprecation_known() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated")
        yield
