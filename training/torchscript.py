"""TorchScript, which PyTorch has deprecated: all that the project has of it is here.

It is kept because the artifact promises a TorchScript file. When PyTorch drops it, this module
and that promise go.
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
            # Optional tables of source lines, with the paths of the machine that compiled it.
            if not entry.filename.endswith(".debug_pkl"):
                stripped.writestr(entry, archive.read(entry))


def load(path: Path) -> torch.jit.ScriptModule:
    """Read what `save` wrote."""
    with _deprecation_known():
        module: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu")
        return module


@contextmanager
def _deprecation_known() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated")
        yield
