"""The image that `.ci/image` built, and a way to run it without a container engine."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.conftest import STOP_SECONDS, free_port, wait_until_ready

# `make test` builds no image. Without one, there is nothing to test here.
collect_ignore = [] if "QMNIST_IMAGE" in os.environ else ["test_image.py"]


@dataclass(frozen=True)
class Image:
    """An image: its unpacked files, those of its base, and its description."""

    root: Path
    base: Path
    description: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = self.description["Docker"]["config"]
        return config

    @property
    def environment(self) -> dict[str, str]:
        return dict(variable.split("=", 1) for variable in self.config["Env"])


@dataclass(frozen=True)
class Container:
    """A running container; `pid` is the id of its process 1 on the host."""

    image: Image
    url: str
    pid: int
    process: subprocess.Popen[str]
    stdout: Path
    stderr: Path
    environment: dict[str, str]

    def run(self, *command: str, **environment: str) -> int:
        """Run a command inside the container and return its exit status."""
        user, group = self.image.config["User"].split(":")
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--root", "--wd"]
        enter += ["--setuid", user, "--setgid", group]
        return subprocess.run(
            [*enter, *command],
            env={**self.environment, **environment},
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode

    def workers(self) -> list[int]:
        """Return the ids of the worker processes."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


class RunContainer(Protocol):
    """Runs the image with environment variables, then stops it."""

    def __call__(self, **environment: str) -> AbstractContextManager[Container]: ...


@pytest.fixture(scope="session")
def image() -> Image:
    """The image named by `QMNIST_IMAGE` and its companion variables."""
    return Image(
        root=Path(os.environ["QMNIST_IMAGE_ROOT"]),
        base=Path(os.environ["QMNIST_IMAGE_BASE"]),
        description=read_description("QMNIST_IMAGE"),
    )


@pytest.fixture(scope="session")
def run_container(image: Image, tmp_path_factory: pytest.TempPathFactory) -> RunContainer:
    """A function that runs the image and yields a `Container`."""

    @contextmanager
    def run(**environment: str) -> Iterator[Container]:
        folder = tmp_path_factory.mktemp("container")
        port = str(free_port())
        variables = {**image.environment, "PORT": port, **environment}
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        command += [str(Path(__file__).with_name("container")), str(image.root)]
        command += [image.config["User"], image.config["WorkingDir"], *image.config["Entrypoint"]]
        url = f"http://127.0.0.1:{port}"
        logs = (folder / "stdout", folder / "stderr")
        with logs[0].open("w") as stdout, logs[1].open("w") as stderr:
            process = subprocess.Popen(
                command, env=variables, stdout=stdout, stderr=stderr, text=True
            )
        try:
            wait_until_ready(url, process, *logs)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            pid = int(children.read_text())
            yield Container(image, url, pid, process, *logs, variables)
        finally:
            process.kill()  # --kill-child ends everything in the container with it
            process.wait(STOP_SECONDS)

    return run


@pytest.fixture(scope="module")
def container(run_container: RunContainer) -> Iterator[Container]:
    """A container with default settings."""
    with run_container() as container:
        yield container


def read_description(variable: str) -> dict[str, Any]:
    text = Path(os.environ[variable]).read_text(encoding="utf-8")
    description: dict[str, Any] = json.loads(text)
    return description
