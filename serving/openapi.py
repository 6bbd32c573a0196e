"""The service's OpenAPI document: BentoML's own, and what BentoML cannot know.

BentoML describes its health checks and metrics, and of an API the form and the 200. It knows
nothing of a raw body, query parameters, our errors and the mounted routes.
"""

from typing import Any

from pydantic import BaseModel

from serving import errors
from serving.errors import RequestError
from serving.schemas import ErrorBody, ModelList, Prediction, Reading

TAG = "Service APIs"  # the heading under which BentoML puts its APIs

PICTURE = {"type": "string", "format": "binary"}

PICTURE_ERRORS = (
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
    for model in (ErrorBody, ModelList, Prediction, Reading):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
    document["components"]["schemas"] = schemas

    document["paths"] |= {
        "/predict": {
            "post": _picture_endpoint(
                "predict",
                "The digit in one picture",
                Prediction,
                (*PICTURE_ERRORS, errors.SeveralDigits),
            )
        },
        "/read": {
            "post": _picture_endpoint("read", "All digits in one picture", Reading, PICTURE_ERRORS)
        },
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


def _picture_endpoint(
    name: str, summary: str, answer: type[BaseModel], kinds: tuple[type[RequestError], ...]
) -> dict[str, Any]:
    properties = {
        "image": PICTURE,
        "model": {"type": "string"},
        "explain": {"type": "boolean", "default": False},
    }
    form = {"type": "object", "required": ["image"], "properties": properties}
    return {
        "tags": [TAG],
        "operationId": name,
        "summary": summary,
        "description": "Send the picture as the body, or as the file `image` of a form.",
        "parameters": [
            {
                "name": "model",
                "in": "query",
                "description": "The model that answers; left out, the service's default.",
                "schema": properties["model"],
            },
            {
                "name": "explain",
                "in": "query",
                "description": "Whether to show what was seen: the 28 x 28 picture that the "
                "network got, the box, the polarity, and what was removed.",
                "schema": properties["explain"],
            },
        ],
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form}, "image/*": {"schema": PICTURE}},
        },
        "responses": {"200": _json(f"{answer.__doc__}", answer), **_errors(kinds)},
    }


def _errors(kinds: tuple[type[RequestError], ...]) -> dict[str, Any]:
    meanings: dict[int, list[str]] = {}
    for kind in kinds:
        meanings.setdefault(kind.status, []).append(f"`{kind.code}`: {kind.__doc__}")
    return {str(status): _json("\n\n".join(lines), ErrorBody) for status, lines in meanings.items()}


def _json(description: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
