"""Which requests are let in, whatever transport brings them."""

import asyncio

from serving.api.access import Headers, Keys
from serving.errors import Overloaded
from serving.settings import Settings


class Admission:
    """Decides for one worker.

    Attributes:
        in_flight: Requests that are being read or answered; who takes one on counts it here.
        draining: Set once the service is going down.
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
        """Let a request in that `in_flight` counts already.

        Args:
            headers: Its own, names in lower case.

        Raises:
            Overloaded: There are too many.
            Unauthorized: It has no key, or one that is not known.
        """
        self.check_room()
        self.check_key(headers)

    def check_key(self, headers: Headers) -> None:
        """Let a request in however many there are.

        Raises:
            Unauthorized: It has no key, or one that is not known.
        """
        if self._keys is not None:
            self._keys.check(headers)

    def check_room(self) -> None:
        """Let a request in that `in_flight` counts already, whoever sends it.

        Raises:
            Overloaded: There are too many.
        """
        if self.in_flight > self._limit:
            raise Overloaded("The service has too much to do; try again in a second.")
