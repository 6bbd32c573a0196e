"""A server such as you would write in an afternoon, with FastAPI and uvicorn."""

from typing import Annotated, Any

import numpy as np
import work
from fastapi import FastAPI, File, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

classifier = work.load()
app = FastAPI()


@app.exception_handler(OSError)
async def refuse(_: Request, error: Exception) -> JSONResponse:
    """Return 422 for files that are not pictures: Pillow's errors are OSErrors."""
    return JSONResponse({"detail": str(error)}, 422)


@app.post("/raw")
async def predict_raw(request: Request) -> dict[str, Any]:
    """Read the picture from the body, and resize it."""
    return work.read_resized(classifier, await request.body())


@app.post("/form")
async def predict_form(image: Annotated[bytes, File()]) -> dict[str, Any]:
    """Read the picture from a form, and resize it."""
    return work.read_resized(classifier, image)


@app.post("/imaging/raw")
async def look_raw(request: Request) -> dict[str, Any]:
    """Read the picture from the body, and find the digit as our service does."""
    return work.read(classifier, await request.body())


@app.post("/imaging/form")
async def look_form(image: Annotated[bytes, File()]) -> dict[str, Any]:
    """Read the picture from a form, and find the digit as our service does."""
    return work.read(classifier, image)


class Tensor(BaseModel):
    """An input tensor."""

    name: str
    datatype: str
    shape: list[int]
    data: list[int]


class Tensors(BaseModel):
    """A request of the Open Inference Protocol."""

    inputs: list[Tensor]


@app.post("/v2/models/tensors/infer")
async def infer(request: Tensors) -> dict[str, Any]:
    """Read pixels, and return all outputs of the network."""
    (sent,) = request.inputs
    images = np.array(sent.data, np.uint8).reshape(sent.shape)
    outputs = [
        {
            "name": name,
            "datatype": datatype,
            "shape": list(values.shape),
            "data": values.ravel().tolist(),
        }
        for name, (datatype, values) in work.outputs(classifier, images).items()
    ]
    return {"model_name": "tensors", "outputs": outputs}


@app.get("/ready")
async def ready() -> None:
    """Return 200 once the model is loaded."""
