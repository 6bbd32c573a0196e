"""The proxy of `deploy/compose.yaml`, the real one, before two servers."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from tests import drawn
from tests.conftest import ROOT, RunServer, free_port, wait_until_ready

SEVEN = drawn.encode(drawn.on_paper(7))
CONFIGURATION = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")


def test_the_proxy_knows_the_replicas_that_there_are() -> None:
    compose = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    replicas = re.findall(r"^  ([\w-]+): \*replica$", compose, re.MULTILINE)
    assert len(replicas) == 2
    asked_for = re.search(r"reverse_proxy (.+) \{", CONFIGURATION)
    assert asked_for is not None
    assert asked_for[1].split() == [f"{name}:3000" for name in replicas]


def test_a_replica_that_goes_down_costs_no_answer(run_server: RunServer, tmp_path: Path) -> None:
    with ExitStack() as stack:
        stays = stack.enter_context(run_server(drain=1))
        with ExitStack() as goes:
            servers = [stays.url, goes.enter_context(run_server(drain=1)).url]
            url = stack.enter_context(proxy(servers, tmp_path))
            asking = stack.enter_context(asked(f"{url}/predict"))
            time.sleep(1)
        time.sleep(1)
    assert len(asking) > 100
    assert set(asking) == {200}


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
    """Ask all the time, four at once; gives the answers' statuses, complete in the end."""
    statuses: list[int] = []
    enough = threading.Event()

    def ask() -> None:
        with httpx.Client() as client:
            while not enough.is_set():
                statuses.append(client.post(url, content=SEVEN).status_code)

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask) for _ in range(4)]
        try:
            yield statuses
        finally:
            enough.set()
    for one in asking:
        one.result()
