"""API keys: who may ask."""

import hmac
from collections.abc import Iterable
from hashlib import sha256

from serving.errors import Unauthorized

Headers = list[tuple[bytes, bytes]]


class Keys:
    """The keys of which a request must have one.

    Hashes are compared, which are all of one length, each to its end, and with every key: the time
    that it takes says nothing of a key.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._hashes = [sha256(key.encode()).digest() for key in keys]

    def check(self, headers: Headers) -> None:
        """Check a request's headers: `Authorization: Bearer KEY` or `X-API-Key: KEY`.

        Raises:
            Unauthorized: There is no key in them, or one that is not known.
        """
        key = _key(headers)
        if key is None:
            raise Unauthorized("Send an API key: Authorization: Bearer KEY, or X-API-Key: KEY.")
        sent = sha256(key).digest()
        matches = [hmac.compare_digest(sent, known) for known in self._hashes]
        if not any(matches):
            raise Unauthorized("The API key is not known.")


def _key(headers: Headers) -> bytes | None:
    for name, value in headers:
        if name == b"x-api-key":
            return value
        if name == b"authorization":
            scheme, _, credentials = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return credentials.strip()
    return None
