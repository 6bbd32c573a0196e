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

        One valid key is enough, whatever else there is: a gateway may add a token of its own.

        Raises:
            Unauthorized: There is no key in them, or none that is known.
        """
        sent = [key for header in headers if (key := _key(*header)) is not None]
        if not sent:
            raise Unauthorized("Send an API key: Authorization: Bearer KEY, or X-API-Key: KEY.")
        hashes = [sha256(key).digest() for key in sent]
        matches = [hmac.compare_digest(one, known) for one in hashes for known in self._hashes]
        if not any(matches):
            raise Unauthorized("The API key is not known.")


def _key(name: bytes, value: bytes) -> bytes | None:
    if name == b"x-api-key":
        return value
    if name == b"authorization":
        scheme, _, credentials = value.partition(b" ")
        if scheme.lower() == b"bearer":
            return credentials.strip()
    return None
