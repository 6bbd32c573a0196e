"""The ids of requests, in answers and in the log."""

import itertools
import re
import secrets

HEADER = "x-request-id"

GOOD = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


class RequestIds:
    """The ids that a worker gives."""

    def __init__(self) -> None:
        worker = secrets.token_hex(4)
        self._new = (f"{worker}-{n:x}" for n in itertools.count(1))

    def take(self, sent: bytes | None) -> str:
        """Take the client's own id for a request, if it is well-formed, or else a new one."""
        if sent is not None and GOOD.fullmatch(sent):
            return sent.decode("ascii")
        return next(self._new)
