"""Processes many shards in parallel: in local processes, or with Ray, here or on a cluster.

Both call the same function, `do`, on the same shards.
"""

import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from enum import StrEnum
from functools import cache
from itertools import islice
from typing import Any, TypeAlias

from serving.offline.labelling import Count, Job, Labeller, ahead
from serving.offline.results import Results
from serving.offline.shards import Shard

# By number.
Shards: TypeAlias = Mapping[int, Shard]
Done: TypeAlias = tuple[int, Count]


class EngineError(Exception):
    """The engine is unavailable or has failed; the message says what to do."""


class Engine(StrEnum):
    """What runs the work."""

    LOCAL = "local"
    RAY = "ray"


def do(labeller: Labeller, shard: Shard, number: int, results: Results | None) -> Count:
    """Label a shard, and write its rows if there are `results`."""
    count = Count()
    rows = ahead(labeller.label(shard, count))
    if results is None:
        for _ in rows:
            pass
    else:
        results.write(number, rows)
    return count


def run_local(job: Job, shards: Shards, results: Results | None, workers: int) -> Iterator[Done]:
    """Process shards in `workers` processes, or in this one if it is one; yield each when done.

    Raises:
        EngineError: A process was killed, probably because memory ran out.
    """
    if workers == 1:
        labeller = Labeller(job)
        for number, shard in shards.items():
            yield number, do(labeller, shard, number, results)
        return
    # A forked child would lack ONNX Runtime's and OpenCV's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (job, results)) as pool:
        waiting = iter(shards.items())
        running: dict[Future[Count], int] = {}
        try:
            while True:
                for number, shard in islice(waiting, 2 * workers - len(running)):
                    running[pool.submit(_do, shard, number)] = number
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool as error:
            raise EngineError(
                "a process was killed, probably because memory ran out; run the same command with "
                "fewer --workers: `label` continues where it stopped"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


# Set once in each process of the pool.
_job: Job
_results: Results | None


def _start(job: Job, results: Results | None) -> None:
    global _job, _results
    _job, _results = job, results


@cache
def _labeller() -> Labeller:
    # Not when the process starts, where an error would not be reported.
    return Labeller(_job)


def _do(shard: Shard, number: int) -> Count:
    return do(_labeller(), shard, number, _results)


class RayWorker:
    """A Ray Data actor with one session."""

    def __init__(self, job: Job, results: Results | None) -> None:
        self._labeller, self._results = Labeller(job), results

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Process the single shard of a batch."""
        (number,), (shard,) = batch["number"], batch["shard"]
        return {
            "number": [number],
            "count": [do(self._labeller, shard, int(number), self._results)],
        }


def run_ray(
    job: Job, shards: Shards, results: Results | None, workers: int, address: str | None
) -> Iterator[Done]:
    """Process shards in `workers` Ray actors; yield each when done.

    Raises:
        EngineError: Ray is not installed.
    """
    try:
        import ray  # noqa: PLC0415  an extra
    except ImportError as error:
        raise EngineError(
            f"--engine ray needs an extra: install qmnist-digits[ray] ({error})"
        ) from None
    ray.init(address=address, log_to_driver=False, configure_logging=False)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        items = [{"number": number, "shard": shard} for number, shard in shards.items()]
        dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            RayWorker,
            fn_constructor_kwargs={"job": job, "results": results},
            batch_size=1,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        for row in dataset.iter_rows():
            yield int(row["number"]), row["count"]
    finally:
        ray.shutdown()
