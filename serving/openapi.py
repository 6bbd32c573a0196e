"""The service's OpenAPI document: BentoML's own, and what BentoML cannot know.

BentoML describes its health checks and metrics, and of an API the form and the 200. It knows
nothing of a raw body, query parameters, our errors and the mounted routes.
"""

from typing import Any

from pydantic import BaseModel

from serving import errors
from serving.errors import RequestError
from serving.schemas import ErrorBody, ModelList, Prediction

TAG = "Service APIs"  # the heading under which BentoML puts its APIs

PICTURE = {"type": "string", "format": "binary"}

PREDICT_ERRORS = (
    errors.InvalidRequest,
    errors.UnknownModel,
    errors.PictureTooLarge,
    errors.NotAPicture,
    errors.DamagedPicture,
    errors.NoDigit,
)


def complete(document: dict[str, Any], description: str) -> dict[str, Any]:
    """Make BentoML's document ours, in place, and return it."""
    document["info"]["description"] = description
    del document["info"]["contact"]  # BentoML's makers

    schemas: dict[str, Any] = {}
    for model in (ErrorBody, ModelList, Prediction):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
    document["components"]["schemas"] = schemas

    document["paths"] |= {
        "/predict": {"post": _predict()},
        "/models": {
            "get": {
                "tags": [TAG],
                "operationId": "models",
                "summary": "The models that are served, with their cards",
                "responses": {"200": _json("The models.", ModelList)},
            }
        },
    }
    return document


def _predict() -> dict[str, Any]:
    form = {
        "type": "object",
        "required": ["image"],
        "properties": {"image": PICTURE, "model": {"type": "string"}},
    }
    return {
        "tags": [TAG],
        "operationId": "predict",
        "summary": "The digit in one picture",
        "description": "Send the picture as the body, or as the file `image` of a form.",
        "parameters": [
            {
                "name": "model",
                "in": "query",
                "description": "The model that answers; left out, the service's default.",
                "schema": {"type": "string"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form}, "image/*": {"schema": PICTURE}},
        },
        "responses": {"200": _json("The digit.", Prediction), **_errors(PREDICT_ERRORS)},
    }


def _errors(kinds: tuple[type[RequestError], ...]) -> dict[str, Any]:
    meanings: dict[int, list[str]] = {}
    for kind in kinds:
        meanings.setdefault(kind.status, []).append(f"`{kind.code}`: {kind.__doc__}")
    return {str(status): _json("\n\n".join(lines), ErrorBody) for status, lines in meanings.items()}


def _json(description: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
