"""Admits requests, over HTTP and gRPC, by the number in flight and by API key."""

import asyncio
import hmac
from collections.abc import Iterable
from hashlib import sha256

from serving.api.http import Headers
from serving.errors import Overloaded, Unauthorized
from serving.settings import Settings


class Admission:
    """Admits requests to one worker.

    Attributes:
        in_flight: The requests being read or answered, counted by `frame.Frame`.
        draining: Set once the service is shutting down.
    """

    def __init__(self, settings: Settings) -> None:
        self.in_flight = 0
        self.draining = asyncio.Event()
        self._limit = settings.max_in_flight
        self._keys = Keys(keys) if (keys := settings.all_api_keys()) else None

    @property
    def wants_keys(self) -> bool:
        """Whether requests need an API key."""
        return self._keys is not None

    def check(self, headers: Headers) -> None:
        """Check a request that `in_flight` already counts.

        Args:
            headers: The request's headers, with lower-case names.

        Raises:
            Overloaded: Too many requests are in flight.
            Unauthorized: It has no key, or an unknown one.
        """
        self.check_room()
        self.check_key(headers)

    def check_key(self, headers: Headers) -> None:
        """Check only a request's key.

        Raises:
            Unauthorized: It has no key, or an unknown one.
        """
        if self._keys is not None:
            self._keys.check(headers)

    def check_room(self) -> None:
        """Check that there is room for a request that `in_flight` already counts.

        Raises:
            Overloaded: Too many requests are in flight.
        """
        if self.in_flight > self._limit:
            raise Overloaded("The service is busy. Try again in a second.")


class Keys:
    """The API keys, of which a request must have one.

    Every sent key's hash is compared with every known hash in constant time, so that timing reveals
    nothing about the keys.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._hashes = [sha256(key.encode()).digest() for key in keys]

    def check(self, headers: Headers) -> None:
        """Check a request's headers: `Authorization: Bearer KEY` or `X-API-Key: KEY`.

        One valid key is enough, because a gateway may add a token of its own.

        Raises:
            Unauthorized: There is no key in them, or no known one.
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
