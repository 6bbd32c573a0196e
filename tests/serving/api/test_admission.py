import pytest

from serving.api.admission import Keys
from serving.errors import Unauthorized

KEYS = Keys(["first", "second"])


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer first"),
        (b"authorization", b"bearer second"),
        (b"x-api-key", b"first"),
    ],
)
def test_a_known_key_is_let_in(header: tuple[bytes, bytes]) -> None:
    KEYS.check([(b"host", b"localhost"), header])


@pytest.mark.parametrize("other", [(b"authorization", b"Bearer token"), (b"x-api-key", b"other")])
def test_a_known_key_is_let_in_whatever_else_a_gateway_adds(other: tuple[bytes, bytes]) -> None:
    for key in ((b"authorization", b"Bearer first"), (b"x-api-key", b"second")):
        KEYS.check([other, key])
        KEYS.check([key, other])


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"first")],
        [(b"authorization", b"Basic first")],
        [(b"x-key", b"first")],
    ],
)
def test_without_a_key_the_client_is_told_how_to_send_one(
    headers: list[tuple[bytes, bytes]],
) -> None:
    with pytest.raises(Unauthorized, match="X-API-Key: KEY"):
        KEYS.check(headers)


@pytest.mark.parametrize("key", [b"", b"firs", b"first,second", b"\xff", b"x" * 100_000])
def test_another_key_is_refused(key: bytes) -> None:
    with pytest.raises(Unauthorized, match="not known"):
        KEYS.check([(b"x-api-key", key)])
