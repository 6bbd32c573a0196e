"""Requests that would keep a worker busy for minutes are cut short and block no others."""

import http.client
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image
from tritonclient.utils import InferenceServerException

from tests.archives import zipped
from tests.conftest import PATIENCE, RunServer, Server, free_port, until
from tests.pictures import drawn

SEVEN = drawn.encode(drawn.on_paper(7))
MANY = 1_000


def huge() -> bytes:
    """Return a 16-megapixel picture of a digit, a kilobyte or two in size."""
    picture = Image.new("1", (4_000, 4_000), 1)
    picture.paste(0, (1_900, 900, 2_100, 3_100))
    return drawn.encode(picture)


LONG = zipped(dict.fromkeys([f"{number}.png" for number in range(MANY)], huge()))


def decoded(server: Server) -> float:
    """Return how many pictures the server has decoded so far."""
    for line in httpx.get(f"{server.url}/metrics").text.splitlines():
        if line.startswith("qmnist_decode_seconds_count"):
            return float(line.split()[1])
    return 0


def batch_is_answered(server: Server) -> bool:
    """Return whether the single thread for batches is free for another one."""
    response = httpx.post(f"{server.url}/predict_batch", files={"images": SEVEN}, timeout=PATIENCE)
    assert response.status_code in {200, 504}
    return response.status_code == 200


def test_the_pixels_of_one_request_are_bounded(run_server: RunServer) -> None:
    with run_server(timeout=PATIENCE, max_batch_pixels=3 * 16_000_000) as server:
        response = httpx.post(f"{server.url}/predict_batch", content=LONG, timeout=PATIENCE)
        assert decoded(server) == 3
    answers = response.json()["predictions"]
    assert len(answers) == MANY
    assert [answer["digit"] for answer in answers[:3]] == [1, 1, 1]
    assert {answer["error"]["code"] for answer in answers[3:]} == {"image_too_large"}


def test_what_took_too_long_is_not_worked_on_any_further(run_server: RunServer) -> None:
    with run_server(timeout=1, max_batch_pixels=10**12) as server:
        response = httpx.post(f"{server.url}/predict_batch", content=LONG, timeout=PATIENCE)
        assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")
        until(lambda: batch_is_answered(server))
        assert decoded(server) < MANY


def test_what_a_client_that_left_asked_for_is_not_worked_on_any_further(
    run_server: RunServer,
) -> None:
    with run_server(timeout=PATIENCE, max_batch_pixels=10**12) as server:
        url = httpx.URL(server.url)
        with socket.create_connection((url.host, url.port or 0)) as connection:
            head = f"POST /predict_batch HTTP/1.1\r\nHost: a\r\nContent-Length: {len(LONG)}\r\n\r\n"
            connection.sendall(head.encode() + LONG)
            until(lambda: decoded(server) > 0)
        assert batch_is_answered(server)
        assert decoded(server) < MANY


def test_what_a_client_of_grpc_gave_up_is_not_worked_on_any_further(
    run_server: RunServer,
) -> None:
    port, picture = free_port(), huge()
    with (
        run_server(grpc_port=port, timeout=PATIENCE, max_batch_pixels=10**12) as server,
        triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
    ):
        pictures = triton.InferInput("pictures", [MANY], "BYTES")
        pictures.set_data_from_numpy(np.array([picture] * MANY, np.object_))
        with pytest.raises(InferenceServerException, match="DEADLINE_EXCEEDED"):
            client.infer("deeper", [pictures], client_timeout=1)
        assert batch_is_answered(server)
        assert 0 < decoded(server) < MANY


def test_long_work_holds_up_no_question_about_the_models(run_server: RunServer) -> None:
    key = {"X-API-Key": "secret"}
    models = "/v2/repository/models"
    with (
        run_server(timeout=PATIENCE, max_batch_pixels=10**12, api_keys="secret") as server,
        ThreadPoolExecutor(1) as pool,
        httpx.Client(base_url=server.url, headers=key, timeout=PATIENCE) as client,
    ):
        connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port)
        connection.request("POST", "/predict_batch", LONG, key)
        answer = pool.submit(connection.getresponse)
        for method, path in (
            ("GET", "/v2/models/stats"),
            ("POST", "/v2/repository/index"),
            ("POST", f"{models}/baseline/unload"),
            ("POST", f"{models}/baseline/load"),
        ):
            assert client.request(method, path).status_code == 200
        assert not answer.done()
        assert connection.sock is not None
        connection.sock.shutdown(socket.SHUT_RDWR)  # tells the server to stop working
        with pytest.raises((http.client.HTTPException, OSError)):
            answer.result()
