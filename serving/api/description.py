"""The API's OpenAPI document.

BentoML's own document lacks raw bodies, query parameters, our errors, API keys and the mounted
routes.
"""

from functools import cache
from typing import Any

from artifact import ONNX_FILE
from imaging import errors as picture_errors
from serving import errors
from serving.api import openapi
from serving.api.descriptors import PixelsInput
from serving.api.openapi import (
    ANY,
    BINARY,
    BOOLEAN,
    BYTES,
    JSON,
    TEXT,
    WITH_BODY,
    Content,
    Refusals,
    Schema,
    path_item,
    ref,
)
from serving.api.schemas import (
    Classification,
    Error,
    ModelList,
    Prediction,
    Predictions,
    Reading,
    SeveralBatches,
    SeveralPredictions,
    SeveralReadings,
)

MODEL = openapi.parameter("query", "model", "The model to use; by default the service's default.")
VERSION = openapi.parameter(
    "query", "version", "The version to download, which may then be cached; any other gives 404."
)
MODELS = openapi.parameter(
    "query",
    "model",
    "The model to use; by default the service's default. For a list of several models' answers, "
    "name them with commas in between, or use `*` for all.",
)
EXPLAIN = openapi.parameter(
    "query",
    "explain",
    "Whether to add what was seen: the 28 x 28 picture for the network, the steps before it, the "
    "box, the polarity, and what was removed.",
    {**BOOLEAN, "default": False},
)

OF_A_MODEL = (errors.UnknownModel, errors.TookTooLong, *WITH_BODY)
OF_A_PICTURE = (
    picture_errors.PictureTooLarge,
    picture_errors.NotAPicture,
    picture_errors.DamagedPicture,
    picture_errors.NoDigit,
    *OF_A_MODEL,
)
OF_MANY = (errors.BodyTooLarge, errors.TooManyPictures, errors.UnsupportedBody, *OF_A_MODEL)


@cache
def document() -> dict[str, Any]:
    """Return the document."""
    return openapi.document(
        "qmnist-digits",
        "Reads handwritten digits in pictures. [Draw one](/ui/).\n\n"
        "The Open Inference Protocol (V2), which this service also supports, is described in "
        "[/v2/openapi.json](/v2/openapi.json).",
        {
            "/predict": _of_one_picture(
                "predict",
                "The digit in one picture",
                (Prediction, SeveralPredictions),
                (*OF_A_PICTURE, picture_errors.SeveralDigits),
            ),
            "/read": _of_one_picture(
                "read",
                "All digits in one picture",
                (Reading, SeveralReadings),
                OF_A_PICTURE,
            ),
            "/predict_batch": path_item(
                "predict_batch",
                "The digit in each of many pictures",
                {JSON: _either(Predictions, SeveralBatches)},
                (
                    errors.DamagedArchive,
                    picture_errors.DamagedPicture,
                    picture_errors.NotAPicture,
                    *OF_MANY,
                ),
                parameters=(MODELS,),
                body={
                    **_form("images", {"type": "array", "items": BINARY, "minItems": 1}),
                    **_in_json("images", {"type": "array", "items": TEXT, "minItems": 1}),
                    **dict.fromkeys(("application/zip", "application/x-tar", "image/tiff"), BINARY),
                },
                description="Send the pictures as the files `images` of a form, as a zip or "
                "uncompressed tar archive, as a multi-page TIFF, or as base64 in JSON. A picture "
                "that cannot be read gets an error in its place.",
            ),
            "/classify": path_item(
                "classify",
                "The digits in pictures sent as pixels",
                {JSON: ref(Classification), BYTES: BINARY},
                OF_MANY,
                parameters=(MODEL,),
                body={JSON: PixelsInput.model_json_schema() | {"title": "Pixels"}, BYTES: BINARY},
                description="Send uint8 [N, 28, 28], 255 is ink, as JSON or as N x 784 raw bytes. "
                "Concurrent requests are answered in one batch. With `Accept: "
                "application/octet-stream`, the answer is a NumPy file (.npy) with one row per "
                "picture (fields `digit`, `confidence`, `typicality`, `accepted`, `reason` and "
                "`probabilities`) and the headers `X-Model` and `X-Model-Version`.",
            ),
            "/models": path_item(
                "models",
                "The models, with their cards",
                {JSON: ref(ModelList)},
            ),
            f"/{ONNX_FILE}": path_item(
                "onnx",
                "A model's ONNX file",
                {BYTES: BINARY},
                (errors.UnknownModel, *ANY),
                parameters=(MODEL, VERSION),
                description="The model takes `images`, uint8 [N, 28, 28], 255 is ink, and returns "
                "`logits`, `probabilities` and `typicality`. Its SHA-256 is on the card.",
            ),
            "/livez": _health("livez", "Whether the process is alive"),
            "/healthz": _health("healthz", "The same as /livez"),
            "/readyz": _health("readyz", "Whether the service accepts requests", errors.Overloaded),
            "/metrics": path_item(
                "metrics",
                "Metrics for Prometheus",
                {"text/plain": TEXT},
                ANY,
                tag="Infrastructure",
            ),
        },
        openapi.schemas_of(
            Classification,
            Error,
            ModelList,
            Prediction,
            Predictions,
            Reading,
            SeveralBatches,
            SeveralPredictions,
            SeveralReadings,
        ),
    ) | {"servers": [{"url": "."}]}  # works under any path prefix of a proxy


def _either(*answers: type) -> Schema:
    return {"anyOf": list(map(ref, answers))}


def _of_one_picture(
    name: str, summary: str, answers: tuple[type, type], refusals: Refusals
) -> dict[str, Any]:
    return path_item(
        name,
        summary,
        {JSON: _either(*answers)},
        refusals,
        parameters=(MODELS, EXPLAIN),
        body={
            **_form("image", BINARY, explain=EXPLAIN["schema"]),
            **_in_json("image", TEXT, explain=BOOLEAN),
            "image/*": BINARY,
        },
        description="Send the picture as the body, as the file `image` of a form, or in JSON as "
        "base64 or a data URL.",
    )


def _form(name: str, files: Schema, **more: Schema) -> Content:
    properties = {name: files, "model": TEXT, **more}
    return {"multipart/form-data": {"type": "object", "required": [name], "properties": properties}}


def _in_json(name: str, pictures: Schema, **more: Schema) -> Content:
    properties = {name: pictures, "model": TEXT, **more}
    return {JSON: {"type": "object", "required": [name], "properties": properties}}


def _health(name: str, summary: str, *refusals: type[errors.Refusal]) -> dict[str, Any]:
    return path_item(
        name,
        summary,
        {"text/plain": TEXT},
        refusals,
        needs_key=False,
        tag="Infrastructure",
    )
