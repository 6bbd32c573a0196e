"""The container's health check: asks the service on this machine whether it is ready."""

import os
import sys
from http.client import HTTPConnection, HTTPException

SECONDS = 2


def is_ready(port: int) -> bool:
    """Return whether the service on this port accepts requests."""
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    # BentoML's setting; and reading our own would take too long for a health check.
    sys.exit(0 if is_ready(int(os.environ.get("PORT", "3000"))) else 1)
