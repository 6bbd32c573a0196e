"""Query a running server with KServe's clients and print the answers as one line of JSON.

Run `.venv-kserve/bin/python tests/end_to_end/kserve_client.py URL IMAGES.npy [GRPC-ADDRESS]`.
KServe has its own environment because it is large.
"""

import asyncio
import json
import logging
import sys
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
)
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from numpy.typing import NDArray

MODEL = "deeper"
UNKNOWN = "unknown"
ID = "mine"


def request(
    name: str, data: NDArray[Any], *, binary: bool, model: str = MODEL, **more: object
) -> Any:  # noqa: ANN401
    sent = InferInput(name, list(data.shape), "UINT8" if data.dtype == np.uint8 else "FP32")
    sent.set_data_from_numpy(data, binary_data=binary)
    return InferRequest(model, [sent], request_id=ID, **more)


def outputs(response: Any) -> dict[str, Any]:  # noqa: ANN401
    assert response.id == ID
    assert response.model_name == MODEL
    return {output.name: values(output) for output in response.outputs}


def values(output: Any) -> list[Any]:  # noqa: ANN401
    found: list[Any] = output.as_numpy().tolist()
    return [each.decode() if isinstance(each, bytes) else each for each in found]


async def ask_over_rest(url: str, images: NDArray[np.uint8]) -> dict[str, Any]:
    unit = (images / 255).astype(np.float32)
    found: dict[str, Any] = {"answers": {}}
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    found["live"] = await client.is_server_live(url)
    found["ready"] = await client.is_server_ready(url)
    found["model_ready"] = await client.is_model_ready(url, MODEL)
    found["unknown_ready"] = await client.is_model_ready(url, UNKNOWN)
    for name, data in (("images", images), ("images_fp32", unit)):
        for binary_in in (False, True):
            for binary_out in (False, True):
                sent = request(
                    name,
                    data,
                    binary=binary_in,
                    parameters={"binary_data_output": True} if binary_out else None,
                )
                way = f"{name}, binary {binary_in} to {binary_out}"
                found["answers"][way] = outputs(await client.infer(url, sent, MODEL))
    chosen = request(
        "images",
        images,
        binary=True,
        request_outputs=[
            RequestedOutput("logits", {"binary_data": True}),
            RequestedOutput("digit", {"binary_data": False}),
        ],
    )
    found["chosen"] = outputs(await client.infer(url, chosen, MODEL))
    found["errors"] = []
    for sent in (
        request("images", images, binary=True, model=UNKNOWN),
        request("pixels", images, binary=True),
    ):
        try:
            await client.infer(url, sent, sent.model_name)
        except httpx.HTTPStatusError as error:
            found["errors"].append([error.response.status_code, str(error)])
    await client.close()
    return found


async def ask_over_grpc(address: str, images: NDArray[np.uint8]) -> dict[str, Any]:
    unit = (images / 255).astype(np.float32)
    found: dict[str, Any] = {"answers": {}}
    async with InferenceGRPCClient(address) as client:
        found["live"] = await client.is_server_live()
        found["ready"] = await client.is_server_ready()
        found["model_ready"] = await client.is_model_ready(MODEL)
        found["unknown_ready"] = await client.is_model_ready(UNKNOWN)
        for name, data in (("images", images), ("images_fp32", unit)):
            for binary in (False, True):
                answer = await client.infer(request(name, data, binary=binary))
                found["answers"][f"{name}, {'raw' if binary else 'typed'}"] = outputs(answer)
        chosen = request("images", images, binary=True)
        chosen.request_outputs = [RequestedOutput("logits"), RequestedOutput("digit")]
        found["chosen"] = outputs(await client.infer(chosen))
        found["errors"] = []
        for sent in (
            request("images", images, binary=True, model=UNKNOWN),
            request("pixels", images, binary=True),
        ):
            try:
                await client.infer(sent)
            except grpc.aio.AioRpcError as error:
                found["errors"].append([error.code().name, error.details()])
    return found


async def ask(url: str, images: NDArray[np.uint8], grpc_address: str | None) -> dict[str, Any]:
    found = {"rest": await ask_over_rest(url, images)}
    if grpc_address is not None:
        found["grpc"] = await ask_over_grpc(grpc_address, images)
    return found


if __name__ == "__main__":
    logging.disable()  # the client logs the traceback of every error that it raises
    url, path, *rest = sys.argv[1:]
    print(json.dumps(asyncio.run(ask(url, np.load(path), rest[0] if rest else None))))
