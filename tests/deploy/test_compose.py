"""`compose.yaml`, and `deploy/compose.yaml` with its real proxy in front of two servers."""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from serving.settings import Settings
from tests.conftest import (
    PATIENCE,
    ROOT,
    RunServer,
    Server,
    free_port,
    in_flight,
    until,
    wait_until_ready,
)
from tests.deploy.manifests import composed, seconds
from tests.pictures import drawn

SEVEN = drawn.encode(drawn.on_paper(7))
CONFIGURATION = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
PROXY = composed()["proxy"]
REPLICAS = {name: service for name, service in composed().items() if name != "proxy"}
(ALONE,) = composed(ROOT / "compose.yaml").values()
DRAIN = REPLICAS["digits-1"]["environment"]["QMNIST_DRAIN"]


def test_compose_knows_all_fields() -> None:
    command = [str(Path(sys.executable).with_name("check-jsonschema"))]
    command += ["--builtin-schema", "vendor.compose-spec", "compose.yaml", "deploy/compose.yaml"]
    subprocess.run(command, cwd=ROOT, check=True)


def test_the_one_that_is_alone_is_built_from_the_dockerfile_and_published() -> None:
    assert ALONE["build"] == "."
    assert ALONE["ports"] == ["${PORT:-3000}:3000"]
    images = {replica["image"] for replica in REPLICAS.values()}
    assert images == {f"${{IMAGE:-{ALONE['image']}}}"}


def test_the_proxy_knows_the_replicas_that_there_are() -> None:
    assert len(REPLICAS) == 2
    asked_for = re.search(r"reverse_proxy (.+) \{", CONFIGURATION)
    assert asked_for is not None
    assert asked_for[1].split() == [f"{name}:3000" for name in REPLICAS]


def test_the_proxy_waits_until_all_replicas_are_healthy() -> None:
    assert PROXY["depends_on"] == {name: {"condition": "service_healthy"} for name in REPLICAS}


def test_a_container_may_do_nothing_that_it_need_not() -> None:
    for replica in (ALONE, *REPLICAS.values()):
        assert replica["read_only"] is True
        assert replica["tmpfs"] == ["/tmp"]  # noqa: S108  in the container
        assert replica["cap_drop"] == ["ALL"]
        assert replica["security_opt"] == ["no-new-privileges:true"]
    assert not [replica for replica in REPLICAS.values() if "ports" in replica]


def test_a_container_has_the_time_to_go_in_order() -> None:
    settings = Settings()
    for replica in (ALONE, *REPLICAS.values()):
        variables = replica.get("environment", {})
        assert {f"QMNIST_{field}".upper() for field in Settings.model_fields} >= set(variables)
        assert "QMNIST_TIMEOUT" not in variables  # the default applies
        drain = variables.get("QMNIST_DRAIN", settings.drain)
        assert seconds(replica["stop_grace_period"]) >= drain + 2 * settings.timeout
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (timeout,) = re.findall(r"--stop-timeout (\d+)", text)
    assert int(timeout) >= settings.drain + 2 * settings.timeout


def test_replicas_are_exchanged_one_after_the_other_and_no_request_is_lost(
    run_server: RunServer, tmp_path: Path
) -> None:
    ports = [free_port(), free_port()]
    with ExitStack() as stack:
        running = [stack.enter_context(ExitStack()) for _ in ports]
        for replica, port in zip(running, ports, strict=True):
            replica.enter_context(run_server(port=port, drain=DRAIN))
        url = stack.enter_context(proxy([f"http://127.0.0.1:{port}" for port in ports], tmp_path))
        kind, *command = PROXY["healthcheck"]["test"]
        assert (kind, command[0]) == ("CMD", "wget")
        assert httpx.get(url + urlsplit(command[-1]).path).is_success
        statuses = stack.enter_context(asked(f"{url}/predict"))
        until(lambda: len(statuses) > 100)
        for replica, port in zip(running, ports, strict=True):
            replica.close()
            server = replica.enter_context(run_server(port=port, drain=DRAIN))
            until(lambda server=server: answers(server) > 0)  # type: ignore[misc]
    assert set(statuses) == {200}


def test_what_a_replica_had_that_is_killed_is_502_and_then_the_other_answers(
    run_server: RunServer, tmp_path: Path
) -> None:
    with (
        run_server(timeout=2 * PATIENCE) as victim,
        run_server(timeout=2 * PATIENCE) as other,
        proxy([victim.url, other.url], tmp_path) as url,
        half_asked(url) as first,
        half_asked(url) as second,
    ):
        until(lambda: in_flight(victim.url) == 1 and in_flight(other.url) == 1)
        with asked(f"{url}/predict") as statuses:
            until(lambda: answers(victim) > 0)
            kill(victim)
            before = len(statuses)
            until(lambda: len(statuses) > before + 100 and set(statuses[-100:]) == {200})
        assert set(statuses) <= {200, 502, 0}  # 0: killed in the middle of an answer
        first.send(SEVEN[50:])
        second.send(SEVEN[50:])
        assert sorted([first.getresponse().status, second.getresponse().status]) == [200, 502]


def answers(server: Server) -> float:
    """Return how many requests to /predict the server reports."""
    text = httpx.get(f"{server.url}/metrics").text
    found = r"^bentoml_service_request_total\{.*\"/predict\".*\} (\S+)$"
    return sum(float(count) for count in re.findall(found, text, re.MULTILINE))


@contextmanager
def half_asked(url: str) -> Iterator[http.client.HTTPConnection]:
    """Send half of a request; the server waits for the rest."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)) as connection:
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", str(len(SEVEN)))
        connection.endheaders(SEVEN[:50])
        yield connection


def kill(server: Server) -> None:
    """Kill the server and its workers at once, as a power failure would."""
    for pid in [server.process.pid, *server.worker_pids()]:
        os.kill(pid, signal.SIGKILL)


@contextmanager
def proxy(servers: list[str], folder: Path) -> Iterator[str]:
    port = free_port()
    text = CONFIGURATION.replace("\n:3000 {", f"\n:{port} {{")
    for number, server in enumerate(servers, 1):
        text = text.replace(f"digits-{number}:3000", server.removeprefix("http://"))
    (folder / "Caddyfile").write_text(text, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("caddy")), "run", "--adapter", "caddyfile"]
    command += ["--config", str(folder / "Caddyfile")]
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stderr=log, text=True)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def asked(url: str) -> Iterator[list[int]]:
    """Send requests from four threads, each up to 100 times per second.

    Yield the list that collects the statuses; 0 stands for an answer that was cut off.
    """
    statuses: list[int] = []
    enough = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=PATIENCE) as client:
            while not enough.wait(0.01):
                try:
                    statuses.append(client.post(url, content=SEVEN).status_code)
                except httpx.RemoteProtocolError:
                    statuses.append(0)

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask) for _ in range(4)]
        try:
            yield statuses
        finally:
            enough.set()
    for one in asking:
        one.result()
