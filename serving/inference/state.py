"""The folder of a running service, which its processes share: what they count, and what they serve.

BentoML has a folder for counts, too. But all services of a user have the same, and each empties it
when it starts.
"""

import atexit
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from artifact import Card
from serving.inference.artifacts import Artifact, ArtifactError

# In the environment, tells workers where the folder is. It is no setting: who starts them sets it.
VARIABLE = "QMNIST_STATE"

# A file's inode, time and size. What comes in its place has another inode, if nothing else.
Stamp = tuple[int, int, int]


def make() -> Path:
    """Make a folder, which is removed when this process ends, unless it is killed.

    Raises:
        OSError: There is no room for it.
    """
    folder = Path(tempfile.mkdtemp(prefix="qmnist-digits-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # systemd removes what nobody has used for ten days, but no folder that somebody has locked. The
    # lock goes with the process.
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX)
    return folder


def share() -> Path:
    """Make a folder for the processes that this one is about to start.

    Raises:
        OSError: There is no room for it.
    """
    folder = make()
    os.environ[VARIABLE] = str(folder)
    return folder


def shared() -> Path | None:
    """Return the folder that this process shares with others, if it was started to do so."""
    folder = os.environ.get(VARIABLE)
    return None if folder is None else Path(folder)


def stamps(folder: Path) -> dict[str, Stamp]:
    """Look at the files in a folder, if there is one, but not at those with a leading dot."""
    found = {}
    with suppress(FileNotFoundError):  # it went away between two looks
        for path in sorted(folder.glob("[!.]*")):
            status = path.stat()
            found[path.name] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


class Copies:
    """What is served: a copy of each model's artifact, in a file that is empty once it is unloaded.

    Args:
        folder: The service's.

    Raises:
        OSError: It cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "models"
        self._folder.mkdir(exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all others, in this process or another, from changing anything meanwhile."""
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def look(self) -> dict[str, Stamp]:
        """Return each model's stamp, which is another once its copy is."""
        return stamps(self._folder)

    def unloaded(self) -> set[str]:
        """Return the models that are not to be served."""
        return {name for name, (*_, size) in self.look().items() if size == 0}

    def read(self, name: str) -> Artifact | None:
        """Return a model's artifact; `None` if it is unloaded.

        Raises:
            ArtifactError: The copy is not what was written.
            OSError: It cannot be read.
        """
        content = (self._folder / name).read_bytes()
        if not content:
            return None
        digest, _, content = content.partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != digest:
            raise ArtifactError(f"{self._folder / name} is damaged")
        card, _, onnx = content.partition(b"\n")
        return Artifact(Card.model_validate_json(card), onnx)

    def write(self, artifact: Artifact) -> None:
        """Put an artifact in the place of the model's copy.

        Raises:
            ArtifactError: There is no room for it.
        """
        content = artifact.card.model_dump_json().encode() + b"\n" + artifact.onnx
        digest = hashlib.sha256(content).hexdigest().encode()
        new = self._folder / ".new"
        try:
            new.write_bytes(digest + b"\n" + content)
            new.replace(self._folder / artifact.name)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise ArtifactError(f"{new} cannot be written: {error.strerror}") from error

    def unload(self, name: str) -> None:
        """Empty a model's copy, for which there is always room."""
        (self._folder / name).write_bytes(b"")
