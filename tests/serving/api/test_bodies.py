"""Bodies are read in time and within limits, and the room that they take is released."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import anyio
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from imaging.errors import PictureTooLarge
from serving.api.bodies import Bodies
from serving.errors import Overloaded, Refusal, RequestError, SlowRequest
from tests.serving.asker import request

LIMIT = 1_000
ROOM = 1_500


def too_large() -> PictureTooLarge:
    return PictureTooLarge("It is too large.")


class Client:
    """Sends a body in chunks; unless it is done, it then hangs forever."""

    def __init__(
        self,
        *chunks: bytes,
        announced: int | None = None,
        encoding: str | None = None,
        done: bool = True,
    ) -> None:
        self.waiting = list(chunks)
        self.done = done
        headers = {"content-length": announced, "content-encoding": encoding}
        sent = [(n.encode(), str(v).encode()) for n, v in headers.items() if v is not None]
        self.request = request(self.receive, headers=sent)

    async def receive(self) -> Message:
        if not self.waiting:
            await anyio.sleep_forever()
        body = self.waiting.pop(0)
        return {
            "type": "http.request",
            "body": body,
            "more_body": bool(self.waiting) or not self.done,
        }


def read(bodies: Bodies, client: Client) -> bytes:
    async def run() -> bytes:
        async with bodies.read(client.request, LIMIT, too_large) as body:
            return body

    return anyio.run(run)


def new_bodies(seconds: float = 5) -> Bodies:
    return Bodies(seconds, ROOM)


def test_a_body_is_put_together() -> None:
    assert read(new_bodies(), Client(b"one ", b"two ", b"three")) == b"one two three"
    assert read(new_bodies(), Client(b"")) == b""


def test_a_body_of_just_the_limit_is_read() -> None:
    assert read(new_bodies(), Client(b"x" * LIMIT, announced=LIMIT)) == b"x" * LIMIT


def test_an_announced_length_over_the_limit_is_refused_unread() -> None:
    client = Client(b"x", announced=LIMIT + 1)
    with pytest.raises(PictureTooLarge):
        read(new_bodies(), client)
    assert client.waiting == [b"x"]


def test_a_body_is_refused_at_the_chunk_that_is_too_much() -> None:
    client = Client(*[b"x" * 400] * 10)
    with pytest.raises(PictureTooLarge):
        read(new_bodies(), client)
    assert len(client.waiting) == 7


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    with pytest.raises(SlowRequest, match=r"within 0\.01 seconds"):
        read(new_bodies(seconds=0.01), Client(b"x", done=False))


def test_a_client_that_leaves_is_noticed() -> None:
    client = Client()
    client.request = request()
    with pytest.raises(ClientDisconnect):
        read(new_bodies(), client)


def test_all_bodies_together_are_bounded() -> None:
    bodies = new_bodies()

    async def two_at_once() -> None:
        first, second = Client(b"x" * 800), Client(b"x" * 800)
        async with bodies.read(first.request, LIMIT, too_large):
            with pytest.raises(Overloaded):
                await bodies.read(second.request, LIMIT, too_large).__aenter__()

    anyio.run(two_at_once)
    assert bodies.room == ROOM


@pytest.mark.parametrize(
    ("client", "kind"),
    [(Client(*[b"x" * 400] * 3), PictureTooLarge), (Client(b"x" * 400, done=False), SlowRequest)],
)
def test_a_refused_body_is_held_no_more(client: Client, kind: type[Refusal]) -> None:
    bodies = new_bodies(seconds=0.01)
    with pytest.raises(kind):
        read(bodies, client)
    assert bodies.room == ROOM


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
    ],
)
def test_a_compressed_body_is_decompressed(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(b"x" * LIMIT)
    assert read(new_bodies(), Client(packed, encoding=encoding)) == b"x" * LIMIT
    pieces = [packed[i : i + 1] for i in range(len(packed))]
    assert read(new_bodies(), Client(*pieces, encoding=encoding)) == b"x" * LIMIT


def test_a_compressed_body_is_as_large_as_it_is_decompressed() -> None:
    bodies = new_bodies()
    client = Client(gzip.compress(bytes(100_000_000), 1), encoding="gzip")
    tracemalloc.start()
    with pytest.raises(PictureTooLarge):
        read(bodies, client)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000
    assert bodies.room == ROOM


@pytest.mark.parametrize(
    ("chunks", "encoding", "message"),
    [
        ([gzip.compress(b"x")[:-1]], "gzip", "too early"),
        ([b""], "gzip", "too early"),
        ([b"this is no gzip"], "gzip", "does not match"),
        ([gzip.compress(b"x") + b"y"], "gzip", "after its end"),
        ([gzip.compress(b"x"), b"y"], "gzip", "after its end"),
        ([b"x"], "br", "content encoding must be gzip or deflate"),
    ],
)
def test_what_is_packed_otherwise_is_refused(
    chunks: list[bytes], encoding: str, message: str
) -> None:
    bodies = new_bodies()
    with pytest.raises(RequestError, match=message):
        read(bodies, Client(*chunks, encoding=encoding))
    assert bodies.room == ROOM


def test_what_was_read_otherwise_takes_its_room() -> None:
    bodies = new_bodies()
    with bodies.hold(ROOM - 100):
        assert read(bodies, Client(b"x" * 100)) == b"x" * 100
        with pytest.raises(Overloaded):
            read(bodies, Client(b"x" * 101))
        with pytest.raises(Overloaded), bodies.hold(101):
            pass
    assert bodies.room == ROOM
