"""The state that a service's processes share, and that no other service sees."""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import (
    COMMITTED_MODELS,
    STOP_SECONDS,
    Server,
    bentoml_serve,
    free_port,
    until,
    wait_until_ready,
)
from tests.pictures import drawn

SEVEN = drawn.encode(drawn.on_paper(7))
ASKED = 20  # requests, so that every worker answers some
# Every request opens a new connection.
CLIENT = httpx.Client(
    headers={"X-API-Key": "key"}, limits=httpx.Limits(max_keepalive_connections=0)
)


class Machine:
    """Runs services of one user, with the same BENTOML_HOME and folder for temporary files."""

    def __init__(self, folder: Path) -> None:
        self.home, self.temporary = folder / "home", folder / "tmp"
        self.home.mkdir()
        self.temporary.mkdir()

    @contextmanager
    def serving(self, count: int = 1, **settings: object) -> Iterator[list[Server]]:
        """Run services that start at the same moment."""
        environment = {f"QMNIST_{name.upper()}": str(value) for name, value in settings.items()}
        environment |= {"TMPDIR": str(self.temporary), "QMNIST_DRAIN": "0"}
        with ExitStack() as stack:
            servers = []
            for port in [free_port() for _ in range(count)]:
                path = self.home / f"{port}.log"
                log = stack.enter_context(path.open("w", encoding="utf-8"))
                process = bentoml_serve(port, environment, self.home, log)
                stack.callback(process.wait, STOP_SECONDS)
                stack.callback(process.terminate)
                servers.append(Server(f"http://127.0.0.1:{port}", process, path))
            for server in servers:
                wait_until_ready(server.url, server.process, server.log)
                until(lambda now=server: initialized(now) == len(now.worker_pids()))  # type: ignore[misc]
            yield servers

    def folders(self) -> list[Path]:
        """Return the folders of the running services."""
        return list(self.temporary.glob("qmnist-digits-*"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def initialized(server: Server) -> int:
    """Return how many workers have started in total."""
    return server.log.read_text(encoding="utf-8").count("initialized")


def predict(server: Server, model: str = "deeper") -> dict[str, Any]:
    response = CLIENT.post(f"{server.url}/predict?model={model}", content=SEVEN)
    answer: dict[str, Any] = response.json()
    return answer


def served(server: Server, model: str) -> set[str]:
    """Return the versions of a model that a server's workers serve."""
    return {str(predict(server, model).get("version")) for _ in range(ASKED)}


def unload(server: Server, model: str) -> None:
    url = f"{server.url}/v2/repository/models/{model}/unload"
    assert CLIENT.post(url).is_success
    until(lambda: served(server, model) == {"None"})


def counted(server: Server) -> float:
    """Return how many predictions a server reports."""
    text = CLIENT.get(f"{server.url}/metrics").text
    return sum(map(float, re.findall(r"^qmnist_predictions_total\{.*\} (.+)$", text, re.MULTILINE)))


def test_services_of_one_user_are_several(machine: Machine) -> None:
    with machine.serving(workers=2, api_keys="key") as (first,):
        for _ in range(3):
            predict(first)
        with machine.serving(2, api_keys="key") as (second, third):
            predict(second)
            assert [counted(server) for server in (first, second, third)] == [3, 1, 0]
            assert len(machine.folders()) == 3
            (version,) = served(first, "baseline")
            unload(second, "baseline")
            unload(first, "dropout")  # makes it read the list of unloaded models again
            assert served(first, "baseline") == served(third, "baseline") == {version}
            assert "None" not in served(second, "dropout")
            second.process.send_signal(signal.SIGINT)
        assert len(machine.folders()) == 1
        assert served(first, "baseline") == {version}
        assert counted(first) > 3
    assert machine.folders() == []


def test_workers_come_back_with_what_was_served(machine: Machine, tmp_path: Path) -> None:
    models = Path(shutil.copytree(COMMITTED_MODELS, tmp_path / "models"))
    with machine.serving(workers=2, models=models, api_keys="key") as (server,):
        names = ("baseline", "deeper")
        versions = {name: served(server, name) for name in names}
        unload(server, "dropout")
        (models / "baseline" / "card.json").write_text("{")
        shutil.rmtree(models / "deeper")
        for worker in server.worker_pids():
            os.kill(worker, signal.SIGKILL)
        until(lambda: initialized(server) == 4)
        assert {name: served(server, name) for name in names} == versions
        assert served(server, "dropout") == {"None"}
        load = f"{server.url}/v2/repository/models/baseline/load"
        assert CLIENT.post(load).status_code == 400
