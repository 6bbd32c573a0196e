"""How many replicas it takes, and what a sudden load does until they are there.

    python benchmarks/capacity.py measure --json docs/scaling/measured.json    # a minute
    python benchmarks/capacity.py flood --json docs/scaling/flood.json
    python benchmarks/capacity.py replicas --price 0.04
    python benchmarks/capacity.py jump --json docs/scaling/jump.json --picture docs/scaling/jump.png

`measure` and `flood` ask the real server. The other two compute, from what it measured and from
`docs/performance/`: `jump` simulates replicas, each a queue of requests before one worker, and an
autoscaler that sees late what they do. One seed gives one result.
"""

import heapq
import http.client
import json
import math
import socket
import statistics
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import numpy as np
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.servers import Body, load, ours, peak_of, running  # noqa: E402
from benchmarks.tables import console, table, write  # noqa: E402
from benchmarks.targets import raw  # noqa: E402

MEASURED = ROOT / "docs" / "scaling" / "measured.json"
PERFORMANCE = ROOT / "docs" / "performance"

HOURLY = (1_000, 1_000_000, 100_000_000)
PLANNED = 2 / 3  # of what a core carries: so that others can take over what one of them did
LEAST = 2  # replicas, so that one may fail

# As in deploy/kubernetes.
TARGET = 0.65  # of a core, which the autoscaler keeps a replica at
MOST = 40
LIMIT = 128  # requests at a replica, the one that is answered among them

SYNC = 15  # seconds from one look of the autoscaler to the next
METRIC_AGE = 15  # seconds since the end of the time that the CPU's use is of
METRIC_WINDOW = 15  # seconds over which it is taken
TOLERANCE = 0.1  # so little too much does not make it add replicas

BEFORE, AFTER = 30, 210  # seconds of each load
JUMP = 10
AT_FIRST = 0.5  # of what two replicas carry
REPORTED = 15  # seconds in a row of the table

CLIENTS = 4  # that ask at the same time while the CPU's time is measured

app = typer.Typer(help="How many replicas it takes.")
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")]


@dataclass(frozen=True)
class Kind:
    """A kind of picture, and how many of it a client sends."""

    name: str
    body: Body
    count: int


@dataclass(frozen=True)
class Case:
    """What differs from one simulation to the other.

    Attributes:
        start: Seconds from the autoscaler's decision until a replica answers.
    """

    name: str
    target: float
    start: float
    least: int = LEAST


@dataclass(frozen=True)
class Second:
    """What happened in one second; latencies in milliseconds, of those that were answered."""

    case: str
    second: int
    offered: int
    refused: int
    replicas: int
    p50: float
    p99: float


class Replica:
    """One worker and the queue before it."""

    def __init__(self) -> None:
        self._free = 0.0
        self._given = 0.0
        self._ends: deque[float] = deque()

    def serve(self, arrivals: list[float], services: list[float], limit: int) -> list[float]:
        """Answer requests in their order.

        Args:
            arrivals: When they come, in seconds, ascending.
            services: The seconds that each takes.
            limit: How many may be here at once; what comes on top is refused.

        Returns:
            The seconds from arrival to answer, of those that were not refused.
        """
        free, ends, latencies = self._free, self._ends, []
        for arrival, service in zip(arrivals, services, strict=True):
            while ends and ends[0] <= arrival:
                ends.popleft()
            if len(ends) < limit:
                free = max(free, arrival) + service
                ends.append(free)
                latencies.append(free - arrival)
                self._given += service
        self._free = free
        return latencies

    def worked(self, now: float) -> float:
        """Seconds that the worker has computed so far, if it was given nothing after `now`."""
        return self._given - max(0.0, self._free - now)


class Autoscaler:
    """Kubernetes' HorizontalPodAutoscaler on the CPU's use.

    It only adds: what it would take away waits for five minutes, which is longer than what is
    simulated.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._used: list[float] = []

    def see(self, used: float) -> None:
        """Note the cores that all replicas used together in the last second."""
        self._used.append(used)

    def wanted(self, replicas: int) -> int:
        """Say how many replicas there should be, of which there are so many, ready or not."""
        end = len(self._used) - METRIC_AGE
        if end < METRIC_WINDOW:
            return replicas
        used = statistics.mean(self._used[end - METRIC_WINDOW : end])
        if used / (replicas * self._case.target) <= 1 + TOLERANCE:
            return replicas
        # Kubernetes doubles at most, or adds four, in one step.
        step = max(2 * replicas, replicas + 4)
        return max(replicas, min(math.ceil(used / self._case.target), step, MOST))


def simulate(
    case: Case, services: NDArray[np.float64], rates: list[float], seed: int
) -> Iterator[Second]:
    """Simulate one second after the other.

    Args:
        case: What is simulated.
        services: Seconds that a request takes, to draw from.
        rates: Requests a second, of each second; they arrive as a Poisson process, each at a
            replica that is chosen at random.
        seed: Of all that is random.
    """
    random = np.random.default_rng(seed)
    used_at_first = rates[0] * float(services.mean())
    ready = [Replica() for _ in range(max(case.least, math.ceil(used_at_first / case.target)))]
    starting: list[float] = []
    autoscaler = Autoscaler(case)
    for second, rate in enumerate(rates):
        while starting and starting[0] <= second:
            heapq.heappop(starting)
            ready.append(Replica())
        before = sum(replica.worked(second) for replica in ready)
        count = int(random.poisson(rate))
        arrivals = second + np.sort(random.random(count))
        taken = random.choice(services, count)
        chosen = random.integers(len(ready), size=count)
        latencies = list(
            chain.from_iterable(
                replica.serve(arrivals[mine].tolist(), taken[mine].tolist(), LIMIT)
                for replica, mine in ((r, chosen == i) for i, r in enumerate(ready))
            )
        )
        autoscaler.see(sum(replica.worked(second + 1) for replica in ready) - before)
        if (second + 1) % SYNC == 0:
            total = len(ready) + len(starting)
            for _ in range(autoscaler.wanted(total) - total):
                heapq.heappush(starting, second + 1 + case.start)
        p50, p99 = 1_000 * np.percentile(latencies, (50, 99))
        refused = count - len(latencies)
        yield Second(case.name, second, count, refused, len(ready), float(p50), float(p99))


@app.command()
def jump(
    node_start: Annotated[
        float, typer.Option(help="Assumed: seconds until a new machine takes pods.")
    ] = 90,
    pod_start: Annotated[
        float, typer.Option(help="Assumed: seconds until a pod is placed and its image there.")
    ] = 10,
    seed: Annotated[int, typer.Option()] = 0,
    picture: Annotated[Path | None, typer.Option(help="Also draw it here, as PNG.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Simulate a tenfold jump of the load."""
    carried = one_core()
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    shape = np.array(measured["service_time_quantiles"])
    services = shape / shape.mean() / carried
    start = pod_start + measured["start_seconds"]
    at_first = AT_FIRST * LEAST * carried
    rates = [at_first] * BEFORE + [JUMP * at_first] * AFTER
    enough = math.ceil(JUMP * at_first / carried / TARGET)
    cases = [
        Case("as in deploy/", TARGET, start),
        Case("target 40 %", 0.4, start),
        Case("new machines", TARGET, start + node_start),
        Case(f"{enough // 2} replicas at least", TARGET, start, enough // 2),
    ]
    seconds: list[Second] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("seconds", total=len(cases) * len(rates))
        for case in cases:
            for second in simulate(case, services, rates, seed):
                seconds.append(second)
                progress.advance(task)
    rows = [_row(seconds[begin : begin + REPORTED]) for begin in range(0, len(seconds), REPORTED)]
    console.print(f"{cases[0].name}; each row is {REPORTED} seconds:\n", highlight=False)
    table(
        ["seconds since the jump", "requests/s", "replicas", "p50 ms", "p99 ms", "refused"],
        [
            [
                str(row["since_jump"]),
                f"{row['per_second']:,.0f}",
                str(row["replicas"]),
                f"{row['p50']:.1f}",
                f"{row['p99']:.1f}",
                f"{100 * row['refused']:.1f} %",
            ]
            for row in rows
            if row["case"] == cases[0].name
        ],
    )
    outcomes = [_outcome(case, [s for s in seconds if s.case == case.name]) for case in cases]
    console.print()
    table(
        ["", "replicas at first", "in the end", "refused in all", "until under 1 % is refused, s"],
        [
            [
                outcome["case"],
                str(outcome["replicas_at_first"]),
                str(outcome["replicas_in_the_end"]),
                f"{100 * outcome['refused']:.1f} %",
                str(outcome["seconds_until_few_are_refused"] or f"over {AFTER}"),
            ]
            for outcome in outcomes
        ],
    )
    if picture is not None:
        draw(cases, seconds, carried, picture)
    figures = {"seed": seed, "start": start, "limit": LIMIT, "outcomes": outcomes, "rows": rows}
    write(json_file, figures)


def _row(seconds: list[Second]) -> dict[str, Any]:
    """Sum up some seconds of one case."""
    offered = sum(second.offered for second in seconds)
    return {
        "case": seconds[0].case,
        "since_jump": seconds[0].second - BEFORE,
        "per_second": offered / len(seconds),
        "replicas": seconds[-1].replicas,
        "p50": statistics.median(second.p50 for second in seconds),
        "p99": statistics.median(second.p99 for second in seconds),
        "refused": sum(second.refused for second in seconds) / offered,
    }


def _outcome(case: Case, seconds: list[Second]) -> dict[str, Any]:
    many = [s.second for s in seconds if s.refused > 0.01 * s.offered]
    last = many[-1] if many else BEFORE - 1
    return {
        **asdict(case),
        "case": case.name,
        "replicas_at_first": seconds[0].replicas,
        "replicas_in_the_end": seconds[-1].replicas,
        "refused": sum(s.refused for s in seconds) / sum(s.offered for s in seconds),
        "seconds_until_few_are_refused": last + 1 - BEFORE if last < seconds[-1].second else None,
    }


def draw(cases: list[Case], seconds: list[Second], carried: float, path: Path) -> None:
    """Draw what is asked and what can be carried, how long it took, and what was refused."""
    figure = Figure(figsize=(9, 8), layout="constrained")
    load_axes, latency_axes, refused_axes = figure.subplots(3, 1, sharex=True)
    first = [second for second in seconds if second.case == cases[0].name]
    at = [second.second - BEFORE for second in first]
    load_axes.plot(at, [s.offered / 1_000 for s in first], color="black", label="asked")
    load_axes.set_ylabel("thousand requests/s")
    load_axes.set_title("What is asked, and what the replicas carry", loc="left")
    latency_axes.plot(at, [s.p50 for s in first], color="C0", label="median")
    latency_axes.plot(at, [s.p99 for s in first], color="C0", linestyle="--", label="p99")
    latency_axes.set_yscale("log")
    latency_axes.set_ylabel("milliseconds")
    latency_axes.set_title(f"Latency of what is answered, {cases[0].name}", loc="left")
    refused_axes.set_title("Refused, in the colours above", loc="left")
    refused_axes.set_ylabel("% of the requests")
    refused_axes.set_xlabel("seconds since the jump")
    for number, case in enumerate(cases):
        its = [second for second in seconds if second.case == case.name]
        style = {"color": f"C{number}", "linewidth": 2 if number == 0 else 1.2}
        carries = [s.replicas * carried / 1_000 for s in its]
        load_axes.step(at, carries, where="post", label=case.name, **style)
        refused_axes.plot(at, [100 * s.refused / s.offered for s in its], **style)
    load_axes.legend(loc="upper left", fontsize="small")
    latency_axes.legend(loc="lower center", fontsize="small")
    for axes in (load_axes, latency_axes, refused_axes):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


@app.command()
def replicas(
    price: Annotated[
        float, typer.Option(help="Assumed: dollars for an hour of one virtual CPU.")
    ] = 0.04,
    json_file: JsonFile = None,
) -> None:
    """Compute replicas and cost; one replica is one core."""
    batches = json.loads((PERFORMANCE / "batches.json").read_text(encoding="utf-8"))["rows"]
    name = "/predict_batch of 256, 4 clients"
    (batched,) = (row["images_per_second"] for row in batches if row["case"] == name)
    rows: list[dict[str, Any]] = []
    for way, carried in (("one a request", one_core()), ("256 a request", batched)):
        for hourly in HOURLY:
            busy = hourly / 3_600 / carried
            count = max(LEAST, math.ceil(busy / PLANNED))
            rows.append(
                {
                    "way": way,
                    "hourly": hourly,
                    "carried": carried,
                    "busy_cores": busy,
                    "replicas": count,
                    "dollars_an_hour": count * price,
                    "dollars_a_million": count * price / hourly * 1e6,
                }
            )
    table(
        [
            "pictures",
            "an hour",
            "a second",
            "a core carries",
            "cores busy",
            "replicas",
            "$ an hour",
            "$ a million",
        ],
        [
            [
                row["way"],
                f"{row['hourly']:,}",
                f"{row['hourly'] / 3_600:,.1f}",
                f"{row['carried']:,.0f}",
                f"{row['busy_cores']:.4f}",
                str(row["replicas"]),
                f"{row['dollars_an_hour']:.2f}",
                f"{row['dollars_a_million']:,.4f}",
            ]
            for row in rows
        ],
    )
    write(json_file, {"price": price, "rows": rows})


def one_core() -> float:
    """Pictures a second of one worker, as docs/performance.md has it."""
    rows = json.loads((PERFORMANCE / "workers.json").read_text(encoding="utf-8"))["rows"]
    (row,) = (r for r in rows if r["server"] == "1 worker(s)" and r["clients"] == 16)
    return float(row["per_second"])


@app.command()
def measure(rounds: Annotated[int, typer.Option(min=1)] = 3, json_file: JsonFile = None) -> None:
    """Measure what pictures of several sizes cost, and the times of single requests."""
    kinds = pictures()
    found: dict[str, list[dict[str, float]]] = {kind.name: [] for kind in kinds}
    starts: list[float] = []
    times: list[float] = []
    with (
        Progress(console=Console(stderr=True), transient=True) as progress,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        task = progress.add_task("pictures", total=rounds * len(kinds))
        for _ in range(rounds):
            for kind in kinds:
                with running(ours(workers=1)) as up:
                    starts.append(up.start_seconds)
                    (worker,) = up.process.children()
                    alone = ask(up.url, kind.body, kind.count)
                    times += alone if kind is kinds[0] else []
                    before = up.cpu_seconds()
                    asked = [
                        clients.submit(ask, up.url, kind.body, kind.count) for _ in range(CLIENTS)
                    ]
                    answered = sum(len(each.result()) for each in asked)
                    sent, received = on_the_wire(up.url, kind.body)
                    found[kind.name].append(
                        {
                            "cpu_ms": 1_000 * (up.cpu_seconds() - before) / answered,
                            "peak_mb": peak_of(worker),
                            "bytes_in": sent,
                            "bytes_out": received,
                        }
                    )
                progress.advance(task)
    rows: list[dict[str, Any]] = [
        {"picture": name, **{key: statistics.median(r[key] for r in each) for key in each[0]}}
        for name, each in found.items()
    ]
    table(
        ["picture", "CPU ms", "a core carries, /s", "kB in", "kB out", "Mbit/s in", "peak MB"],
        [
            [
                row["picture"],
                f"{row['cpu_ms']:.2f}",
                f"{1_000 / row['cpu_ms']:,.0f}",
                f"{row['bytes_in'] / 1_000:,.2f}",
                f"{row['bytes_out'] / 1_000:,.2f}",
                f"{row['bytes_in'] * 8 / 1e6 * 1_000 / row['cpu_ms']:,.0f}",
                f"{row['peak_mb']:.0f}",
            ]
            for row in rows
        ],
    )
    console.print(f"\nFrom start to ready: {statistics.median(starts):.1f} s.", highlight=False)
    write(
        json_file,
        {
            "rounds": rounds,
            "start_seconds": statistics.median(starts),
            "rows": rows,
            # Of one request after the other, with the way to the server and back.
            "service_time_quantiles": np.quantile(times, (np.arange(1_000) + 0.5) / 1_000).tolist(),
        },
    )


@app.command()
def flood(seconds: Annotated[int, typer.Option(min=1)] = 4, json_file: JsonFile = None) -> None:
    """See what a worker says of itself when it has too much to do."""
    small, _, large = pictures()
    cases = [(kind, clients) for kind in (small, large) for clients in (16, 256)]
    rows: list[dict[str, Any]] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("floods", total=len(cases))
        for kind, clients in cases:
            with running(ours(workers=1)) as up:
                before, began = counted(up.url), time.perf_counter()
                found = load(f"{up.url}/predict", kind.body, clients, seconds)
                after, passed = counted(up.url), time.perf_counter() - began
            answered, refused, there = (after[key] - before[key] for key in after)
            rows.append(
                {
                    "picture": kind.name,
                    "clients": clients,
                    "answered": answered / passed,
                    "refused": refused / passed,
                    "p50": found.p50,
                    "in_flight": there / passed,
                }
            )
            progress.advance(task)
    table(
        ["picture", "clients", "answered/s", "refused/s", "in flight", "p50 ms"],
        [
            [
                row["picture"],
                str(row["clients"]),
                f"{row['answered']:,.0f}",
                f"{row['refused']:,.0f}",
                f"{row['in_flight']:.2f}",
                f"{row['p50']:,.1f}",
            ]
            for row in rows
        ],
    )
    write(json_file, {"seconds": seconds, "rows": rows})


def counted(url: str) -> dict[str, float]:
    """Read how many requests were answered and refused, and the seconds that they were there.

    A worker that has as many requests as it may refuses this one too, so it is asked again.
    """
    while True:
        with suppress(urllib.error.HTTPError), urllib.request.urlopen(f"{url}/metrics") as response:  # noqa: S310  it is ours
            families = list(text_string_to_metric_families(response.read().decode()))
            break
        time.sleep(0.1)
    found = {"200": 0.0, "503": 0.0, "seconds": 0.0}
    for sample in chain.from_iterable(family.samples for family in families):
        if sample.labels.get("endpoint") != "/predict":
            continue
        if sample.name == "bentoml_service_request_duration_seconds_sum":
            found["seconds"] += sample.value
        elif sample.name == "bentoml_service_request_total":
            status = sample.labels["http_response_code"]
            found[status] = found.get(status, 0) + sample.value
    return {key: found[key] for key in ("200", "503", "seconds")}


def pictures() -> list[Kind]:
    """Pictures that people send."""
    drawn = ROOT / "docs" / "seven.png"
    shades = np.asarray(Image.open(drawn).convert("L").resize((4_000, 3_000)), np.float64)
    noisy = shades + np.random.default_rng(0).normal(0, 4, shades.shape)
    photograph = BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).convert("RGB").save(
        photograph, "JPEG", quality=85
    )
    return [
        Kind("a digit, 28 x 28, PNG", raw(), 1_000),
        Kind("a drawing, 280 x 280, PNG", Body(drawn.read_bytes(), "image/png"), 300),
        Kind("a photograph, 4000 x 3000, JPEG", Body(photograph.getvalue(), "image/jpeg"), 5),
    ]


def on_the_wire(url: str, body: Body) -> tuple[int, int]:
    """Count the bytes of one request and of its answer."""
    parts = urlsplit(url)
    head = (
        f"POST /predict HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
        f"Content-Type: {body.content_type}\r\nContent-Length: {len(body.content)}\r\n\r\n"
    )
    request = head.encode("ascii") + body.content
    with socket.create_connection((parts.hostname, parts.port or 0)) as connection:
        connection.sendall(request)
        received = sum(map(len, iter(lambda: connection.recv(10_000), b"")))
    return len(request), received


def ask(url: str, body: Body, count: int) -> list[float]:
    """Time requests, one after the other, on one connection."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    times = []
    for _ in range(count):
        began = time.perf_counter()
        connection.request("POST", "/predict", body.content, {"Content-Type": body.content_type})
        connection.getresponse().read()
        times.append(time.perf_counter() - began)
    connection.close()
    return times


if __name__ == "__main__":
    app()
