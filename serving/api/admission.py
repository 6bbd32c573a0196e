"""Which requests are let in, whatever transport brings them: room for them, and API keys."""

import asyncio
import hmac
from collections.abc import Iterable
from hashlib import sha256

from serving.api.http import Headers
from serving.errors import Overloaded, Unauthorized
from serving.settings import Settings


class Admission:
    """Decides for one worker.

    Attributes:
        in_flight: Requests that are being read or answered; who takes one on counts it here.
        draining: Set once the service is shutting down.
    """

    def __init__(self, settings: Settings) -> None:
        self.in_flight = 0
        self.draining = asyncio.Event()
        self._limit = settings.max_in_flight
        self._keys = Keys(keys) if (keys := settings.all_api_keys()) else None

    @property
    def wants_keys(self) -> bool:
        """Whether only those with a key are let in."""
        return self._keys is not None

    def check(self, headers: Headers) -> None:
        """Check a request that `in_flight` counts already.

        Args:
            headers: Its own, names in lower case.

        Raises:
            Overloaded: There are too many.
            Unauthorized: It has no key, or one that is not known.
        """
        self.check_room()
        self.check_key(headers)

    def check_key(self, headers: Headers) -> None:
        """Check a request's key alone.

        Raises:
            Unauthorized: It has no key, or one that is not known.
        """
        if self._keys is not None:
            self._keys.check(headers)

    def check_room(self) -> None:
        """Check whether there is room for a request that `in_flight` counts already.

        Raises:
            Overloaded: There are too many.
        """
        if self.in_flight > self._limit:
            raise Overloaded("The service has too much to do; try again in a second.")


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
