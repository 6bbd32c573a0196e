"""Counts are kept in memory and reported for all processes together."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client import generate_latest

from serving.telemetry import counts
from serving.telemetry.counts import Counter, Gauge, Histogram, LargestGauge, Shared, Summary


@pytest.fixture(autouse=True)
def none_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "FAMILIES", {})


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def told(shared: Shared) -> list[str]:
    """Return the lines that Prometheus gets."""

    class Registry:
        def collect(self) -> object:
            gathered = shared.gather()
            return [family.metric(gathered[name]) for name, family in counts.FAMILIES.items()]

    text = generate_latest(Registry()).decode()  # type: ignore[arg-type]  # enough for it
    return [line for line in text.splitlines() if not line.startswith("#")]


def written(folder: Path) -> dict[str, dict[tuple[str, ...], list[float]]]:
    """Return the counts of the only process that wrote any."""
    (path,) = folder.glob("*.json")
    content = orjson.loads(path.read_bytes())
    return {name: {tuple(of): numbers for of, numbers in each} for name, each in content.items()}


def test_each_kind_is_told_as_prometheus_has_it() -> None:
    Counter("asked", "A", ["path", "status"]).labels("/predict", 200).inc(3)
    Gauge("busy", "B").labels().inc(-1)
    LargestGauge("last", "C").labels().set(1.5)
    taken = Histogram("taken", "D", ["model"], bounds=(0.1, 1)).labels("deeper")
    for seconds in (0.1, 0.2, 1, 5):
        taken.observe(seconds)
    total = Summary("total", "E").labels()
    total.observe(2)
    total.observe(3)
    assert told(Shared(None)) == [
        'asked_total{path="/predict",status="200"} 3.0',
        "busy -1.0",
        "last 1.5",
        'taken_bucket{le="0.1",model="deeper"} 1.0',
        'taken_bucket{le="1.0",model="deeper"} 3.0',
        'taken_bucket{le="+Inf",model="deeper"} 4.0',
        'taken_count{model="deeper"} 4.0',
        'taken_sum{model="deeper"} 6.3',
        "total_count 2.0",
        "total_sum 5.0",
    ]


def test_threads_lose_no_count() -> None:
    counter, summary = Counter("a", "A").labels(), Summary("b", "B").labels()

    def count(_: int) -> None:
        for _ in range(10_000):
            counter.inc()
            summary.observe(1)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, range(4)))
    assert counter.numbers == [40_000]
    assert summary.numbers == [40_000, 40_000]


def test_a_collection_is_counted_whatever_it_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = Histogram("pauses", "", bounds=()).labels()

    class Interrupted(dict[str, object]):
        def values(self) -> Any:  # noqa: ANN401  as in dict
            pauses.observe(1)
            return super().values()

    monkeypatch.setattr(counts, "FAMILIES", Interrupted(counts.FAMILIES))
    gathering = threading.Thread(target=Shared(None).gather, daemon=True)
    gathering.start()
    gathering.join(5)
    assert not gathering.is_alive()
    assert pauses.numbers == [1, 1]


def test_what_processes_counted_is_told_together(tmp_path: Path, dead: int) -> None:
    for kind, name in ((Counter, "sum"), (Gauge, "now"), (LargestGauge, "largest")):
        kind(name, "", ["of"]).labels("mine").inc(2)
    for place, pid in enumerate((os.getppid(), dead, dead)):
        series = [(["mine"], [10 + place]), (["theirs"], [100])]
        content = orjson.dumps(dict.fromkeys(("sum", "now", "largest"), series))
        (tmp_path / f"{pid}-{place}.json").write_bytes(content)
    (tmp_path / ".half-written").write_bytes(b"{")
    assert told(Shared(tmp_path)) == [
        'sum_total{of="mine"} 35.0',
        'sum_total{of="theirs"} 300.0',
        'now{of="mine"} 12.0',
        'now{of="theirs"} 100.0',
        'largest{of="mine"} 12.0',
        'largest{of="theirs"} 100.0',
    ]


def test_what_is_counted_is_written_soon_and_in_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "counts"
    counter = Counter("sum", "").labels()
    shared = Shared(folder)

    async def run() -> None:
        writing = asyncio.create_task(shared.write_on())
        counter.inc()
        async with asyncio.timeout(5):
            while not folder.exists() or written(folder) != {"sum": {(): [1]}}:
                await asyncio.sleep(0.01)
        counter.inc()
        writing.cancel()

    asyncio.run(run())
    assert written(folder) == {"sum": {(): [2]}}
    assert told(shared) == ["sum_total 2.0"], "its own counts are not added twice"


def test_where_nothing_can_be_written_it_is_said_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "counts"
    folder.write_bytes(b"")  # a file where the folder should be
    Counter("sum", "").labels().inc()
    monkeypatch.setattr(counts, "SHARE_SECONDS", 0)
    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)

    async def run() -> None:
        writing = asyncio.create_task(Shared(folder).write_on())
        for _ in range(100):
            await asyncio.sleep(0)
        folder.unlink()
        async with asyncio.timeout(5):
            while not folder.exists():
                await asyncio.sleep(0)
        writing.cancel()

    asyncio.run(run())
    assert written(folder) == {"sum": {(): [1]}}
    assert caplog.text.count("the counts cannot be written") == 1
