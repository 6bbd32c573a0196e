"""Odd and broken pictures, POSTed to a running server."""

import httpx

from tests import drawn, odd

SEVEN = drawn.encode(drawn.on_paper(7))


def test_every_odd_picture_is_answered_and_the_next_request_too(server: str) -> None:
    with httpx.Client(base_url=server, timeout=60) as client:
        for name, data in odd.pictures().items():
            response = client.post("/predict", content=data)
            assert response.status_code == 200 or 400 <= response.status_code < 500, name
            if response.status_code != 200:
                error = response.json()["error"]
                assert error.keys() == {"code", "message", "request_id"}, name
                assert error["message"].endswith("."), name
        assert client.post("/predict", content=SEVEN).json()["digit"] == 7
