"""The request log: one line of JSON per request, if it is turned on."""

import logging
import sys
from datetime import UTC, datetime

import orjson

logger = logging.getLogger("qmnist.requests")


def start() -> None:
    """Send the lines to standard output, without any prefix."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def write(
    request_id: str, method: str, path: str, status: int, seconds: float, trace_id: str | None
) -> None:
    """Write a request's line."""
    line: dict[str, object] = {
        "time": datetime.now(UTC),
        "request_id": request_id,
        "method": method,
        "path": path,
        "status": status,
        "ms": round(1_000 * seconds, 3),
    }
    if trace_id is not None:
        line["trace_id"] = trace_id
    logger.info(orjson.dumps(line).decode())
