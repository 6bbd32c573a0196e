"""Work in threads continues only as long as somebody waits for it."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextvars import ContextVar

import pytest
from PIL import Image
from starlette.requests import ClientDisconnect
from starlette.types import Message

from imaging import Opened, open_image
from imaging.errors import PictureTooLarge
from serving.errors import TookTooLong
from serving.work import Allowance, AllowanceEnded, Threads, while_connected
from tests.serving.asker import request


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """An event for a thread to wait for; it is set at the end of the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


def test_a_function_is_called_in_a_thread() -> None:
    async def run() -> str:
        return await Threads(1, 5).run(lambda name: threading.current_thread().name + name, "!")

    assert asyncio.run(run()) != f"{threading.current_thread().name}!"


def test_a_thread_knows_whose_work_it_does() -> None:
    whose: ContextVar[str] = ContextVar("whose")

    async def run() -> str:
        whose.set("this one's")
        return await Threads(1, 5).run(whose.get)

    assert asyncio.run(run()) == "this one's"


def test_what_has_not_begun_in_time_is_never_begun(gate: threading.Event) -> None:
    done: list[str] = []
    threads = Threads(1, 0.05)

    async def run() -> None:
        for function in (gate.wait, lambda: done.append("late")):
            with pytest.raises(TookTooLong, match=r"took longer than 0\.05 seconds"):
                await threads.run(function)
        gate.set()
        await threads.run(done.append, "in time")

    asyncio.run(run())
    assert done == ["in time"]


def picture() -> Opened:
    return open_image(Image.new("L", (28, 28)))


def test_the_pictures_of_a_request_have_so_many_pixels_together() -> None:
    with Allowance(2 * 28 * 28) as allowance:
        allowance.open(picture)
        allowance.open(picture)
        with pytest.raises(PictureTooLarge, match="have 1,568 pixels in total"):
            allowance.open(picture)


def test_a_picture_that_cannot_be_opened_takes_nothing() -> None:
    def damaged() -> Opened:
        raise ZeroDivisionError

    with Allowance(28 * 28) as allowance:
        with pytest.raises(ZeroDivisionError):
            allowance.open(damaged)
        allowance.open(picture)


def test_no_picture_is_opened_once_nobody_waits() -> None:
    def opened() -> Opened:
        pytest.fail("it was opened")

    with Allowance(10**6) as allowance:
        pass
    with pytest.raises(AllowanceEnded):
        allowance.open(opened)


def test_work_in_a_thread_ends_at_the_picture_after_its_timeout() -> None:
    ended: Future[bool] = Future()

    def work(allowance: Allowance) -> None:
        try:
            while True:
                allowance.open(picture)
        except AllowanceEnded:
            ended.set_result(True)
            raise

    async def run() -> None:
        with Allowance(10**15) as allowance:
            await Threads(1, 0.05).run(work, allowance)

    with pytest.raises(TookTooLong):
        asyncio.run(run())
    assert ended.result(5)


class Client:
    """A client that has sent its request and leaves when told to."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()
        self.request = request(self.receive)

    async def receive(self) -> Message:
        await self.leaves.wait()
        return {"type": "http.disconnect"}


def test_work_is_awaited_while_the_client_is_there() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    async def broken() -> int:
        raise ZeroDivisionError

    async def run() -> None:
        assert await while_connected(Client().request, work()) == 7
        with pytest.raises(ZeroDivisionError):
            await while_connected(Client().request, broken())

    asyncio.run(run())


def test_work_is_cancelled_once_the_client_leaves() -> None:
    async def run() -> None:
        client, cancelled = Client(), asyncio.Event()

        async def work() -> None:
            client.leaves.set()
            try:
                await asyncio.sleep(60)
            finally:
                cancelled.set()

        with pytest.raises(ClientDisconnect):
            await while_connected(client.request, work())
        await asyncio.wait_for(cancelled.wait(), 5)

    asyncio.run(run())
