"""Asks the service on this machine whether it is ready: the container's health check."""

import os
import sys
from http.client import HTTPConnection, HTTPException

SECONDS = 2


def is_ready(port: int) -> bool:
    """Return whether requests that come now are answered."""
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    # The port is BentoML's setting and not ours, and this must not cost what reading ours does.
    sys.exit(0 if is_ready(int(os.environ.get("PORT", "3000"))) else 1)
