"""The service's OpenAPI document: BentoML's own, and what BentoML cannot know.

BentoML describes its health checks, and of an API the form and the 200. It knows nothing of a raw
body, query parameters, our errors, keys and the mounted routes.
"""

from typing import Any

from pydantic import BaseModel

import serving
from imaging import errors as picture_errors
from serving import errors
from serving.api.schemas import (
    Classification,
    ErrorBody,
    ModelList,
    PixelsInput,
    Prediction,
    Predictions,
    Reading,
)
from serving.errors import STATUS, Refusal

TAG = "Service APIs"  # the heading under which BentoML puts its APIs

PICTURE = {"type": "string", "format": "binary"}
TEXT = {"type": "string"}

MODEL = {
    "name": "model",
    "in": "query",
    "description": "The model that answers; left out, the service's default.",
    "schema": {"type": "string"},
}
EXPLAIN = {
    "name": "explain",
    "in": "query",
    "description": "Whether to show what was seen: the 28 x 28 picture that the network got, the "
    "box, the polarity, and what was removed.",
    "schema": {"type": "boolean", "default": False},
}

# What any request can come to, and any that has a body.
ANY = (errors.Unauthorized, errors.InternalError, errors.Overloaded)
WITH_BODY = (
    errors.InvalidRequest,
    errors.UnknownModel,
    errors.SlowRequest,
    *ANY,
    errors.TookTooLong,
)
OF_A_PICTURE = (
    picture_errors.PictureTooLarge,
    picture_errors.NotAPicture,
    picture_errors.DamagedPicture,
    picture_errors.NoDigit,
    *WITH_BODY,
)
OF_MANY = (
    errors.BodyTooLarge,
    errors.TooManyPictures,
    errors.UnsupportedBody,
    *WITH_BODY,
)


def complete(document: dict[str, Any], description: str) -> dict[str, Any]:
    """Make BentoML's document ours, in place, and return it."""
    document["info"]["description"] = description
    document["info"]["version"] = serving.__version__
    del document["info"]["contact"]  # BentoML's makers

    schemas: dict[str, Any] = {}
    for model in (Classification, ErrorBody, ModelList, Prediction, Predictions, Reading):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
    document["components"]["schemas"] = schemas
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    # None, too, because a service need not have keys.
    document["security"] = [{}, {"bearer": []}, {"key": []}]

    document["paths"] = {
        "/predict": _post(
            "predict",
            "The digit in one picture",
            "Send the picture as the body, or as the file `image` of a form.",
            _one_picture(),
            Prediction,
            (*OF_A_PICTURE, picture_errors.SeveralDigits),
            (MODEL, EXPLAIN),
        ),
        "/read": _post(
            "read",
            "All digits in one picture",
            "Send the picture as the body, or as the file `image` of a form.",
            _one_picture(),
            Reading,
            OF_A_PICTURE,
            (MODEL, EXPLAIN),
        ),
        "/predict_batch": _post(
            "predict_batch",
            "The digit in each of many pictures",
            "Send the pictures as the files `images` of a form, or as a zip or (uncompressed) tar "
            "archive, or as a TIFF of many pages. What is wrong with one of them stands in its "
            "place.",
            {
                "multipart/form-data": {
                    "schema": _form("images", {"type": "array", "items": PICTURE, "minItems": 1})
                },
                **{
                    kind: {"schema": PICTURE}
                    for kind in ("application/zip", "application/x-tar", "image/tiff")
                },
            },
            Predictions,
            (
                errors.DamagedArchive,
                picture_errors.DamagedPicture,
                picture_errors.NotAPicture,
                *OF_MANY,
            ),
            (MODEL,),
        ),
        "/classify": _post(
            "classify",
            "The digits of pictures that are pixels already",
            "Send uint8 [N, 28, 28], 255 is ink, as JSON or as raw bytes, N x 784 of them. "
            "Requests that come at the same time are answered together.",
            {
                "application/json": {
                    "schema": PixelsInput.model_json_schema() | {"title": "Pixels"}
                },
                "application/octet-stream": {"schema": PICTURE},
            },
            Classification,
            OF_MANY,
            (MODEL,),
        ),
        "/models": _get("models", "The models that are served, with their cards", ModelList),
        "/livez": _health("livez", "Whether the process is alive"),
        "/healthz": _health("healthz", "The same"),
        "/readyz": _health("readyz", "Whether requests may be sent", errors.Overloaded),
        "/metrics": {
            "get": {
                "tags": ["Infrastructure"],
                "operationId": "metrics",
                "summary": "Counts for Prometheus",
                "responses": {
                    "200": {
                        "description": "All counts.",
                        "content": {"text/plain": {"schema": TEXT}},
                    },
                    **_errors(ANY),
                },
            }
        },
    }
    return document


def _one_picture() -> dict[str, Any]:
    form = _form("image", PICTURE, {"explain": EXPLAIN["schema"]})
    return {"multipart/form-data": {"schema": form}, "image/*": {"schema": PICTURE}}


def _form(name: str, kind: dict[str, Any], more: dict[str, Any] | None = None) -> dict[str, Any]:
    properties = {name: kind, "model": MODEL["schema"], **(more or {})}
    return {"type": "object", "required": [name], "properties": properties}


def _post(
    name: str,
    summary: str,
    description: str,
    content: dict[str, Any],
    answer: type[BaseModel],
    kinds: tuple[type[Refusal], ...],
    parameters: tuple[dict[str, Any], ...],
) -> dict[str, Any]:
    return {
        "post": {
            "tags": [TAG],
            "operationId": name,
            "summary": summary,
            "description": description,
            "parameters": list(parameters),
            "requestBody": {"required": True, "content": content},
            "responses": {"200": _json(f"{answer.__doc__}", answer), **_errors(kinds)},
        }
    }


def _get(name: str, summary: str, answer: type[BaseModel]) -> dict[str, Any]:
    return {
        "get": {
            "tags": [TAG],
            "operationId": name,
            "summary": summary,
            "responses": {"200": _json(f"{answer.__doc__}", answer), **_errors(ANY)},
        }
    }


def _health(name: str, summary: str, *kinds: type[Refusal]) -> dict[str, Any]:
    return {
        "get": {
            "tags": ["Infrastructure"],
            "operationId": name,
            "summary": summary,
            "security": [{}],
            "responses": {
                "200": {"description": "It is.", "content": {"text/plain": {"schema": TEXT}}},
                **_errors(kinds),
            },
        }
    }


def _errors(kinds: tuple[type[Refusal], ...]) -> dict[str, Any]:
    meanings: dict[int, list[str]] = {}
    for kind in kinds:
        meanings.setdefault(STATUS[kind.code], []).append(f"`{kind.code}`: {kind.__doc__}")
    return {
        str(status): _json("\n\n".join(lines), ErrorBody)
        for status, lines in sorted(meanings.items())
    }


def _json(description: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
