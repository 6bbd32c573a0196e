"""What one writes in an afternoon: FastAPI and uvicorn."""

from typing import Annotated, Any

import work
from fastapi import FastAPI, File, HTTPException, Request

from serving.errors import RequestError

classifier = work.load()
app = FastAPI()


def answer(picture: bytes) -> dict[str, Any]:
    """Find the digit in a picture."""
    try:
        return work.read(classifier, picture)
    except RequestError as error:
        raise HTTPException(error.status, str(error)) from error


@app.post("/raw")
async def predict_raw(request: Request) -> dict[str, Any]:
    """Take the picture as the body."""
    return answer(await request.body())


@app.post("/form")
async def predict_form(image: Annotated[bytes, File()]) -> dict[str, Any]:
    """Take the picture as a file of a form."""
    return answer(image)


@app.get("/ready")
async def ready() -> None:
    """Answer once the model is loaded."""
