"""The OpenAPI document of the Open Inference Protocol, as this server implements it."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from imaging import SIDE
from serving import errors
from serving.api import openapi
from serving.api.contents import BYTE
from serving.api.openapi import (
    ANY,
    BINARY,
    BOOLEAN,
    BYTES,
    COUNT,
    JSON,
    TEXT,
    WITH_BODY,
    Schema,
    path_item,
    ref,
)
from serving.protocol.inference import EXTENSIONS, NAME
from serving.protocol.statistics import OUTCOMES, PHASES
from serving.protocol.tensors import INPUTS, OUTPUTS

OF_A_MODEL = (errors.UnknownModel, *ANY)
CONTROL = (errors.BodyTooLarge, *WITH_BODY)

MODEL = openapi.parameter("path", "model", "The model's name.")
VERSION = openapi.parameter("path", "version", "The model's version.")
JSON_LENGTH = openapi.parameter(
    "header",
    "Inference-Header-Content-Length",
    "Bytes of JSON at the start of the body, if binary tensors follow.",
    COUNT,
)


@cache
def document() -> dict[str, Any]:
    """Return the document."""
    return openapi.document(
        "Open Inference Protocol",
        "Pictures in, digits out, for the clients of Triton, KServe and MLServer.",
        {
            "/v2": _get(
                "server_metadata", "The server's name, version and extensions", "ServerMetadata"
            ),
            "/v2/": _get("server_metadata_slash", "The same as /v2", "ServerMetadata"),
            "/v2/health/live": _get(
                "server_live", "Whether the server is alive", "Live", (), needs_key=False
            ),
            "/v2/health/ready": _get(
                "server_ready",
                "Whether the service accepts requests",
                "Ready",
                (errors.Overloaded,),
                needs_key=False,
            ),
            "/v2/openapi.json": _get("openapi", "This document", "Any"),
            "/v2/models": _get("models", "The names of the models", "Models"),
            "/v2/models/stats": _get("stats", "Statistics of all models", "Statistics"),
            **_of_a_model("/v2/models/{model}", "model", MODEL),
            **_of_a_model("/v2/models/{model}/versions/{version}", "model_version", MODEL, VERSION),
            "/v2/repository/index": path_item(
                "repository_index",
                "All models in the repository, loaded or not",
                {JSON: ref("Index")},
                CONTROL,
                body={JSON: ref("IndexRequest")},
                body_required=False,
            ),
            **{
                f"/v2/repository/models/{{model}}/{name}": path_item(
                    name,
                    f"{summary}; requires an API key",
                    {JSON: ref("Any")},
                    (errors.Forbidden, errors.UnknownModel, *CONTROL),
                    parameters=(MODEL,),
                    body={JSON: ref("ControlRequest")},
                    body_required=False,
                )
                for name, summary in (
                    ("load", "Load or reload a model from its folder"),
                    ("unload", "Unload a model"),
                )
            },
        },
        SCHEMAS,
    )


def _get(
    name: str,
    summary: str,
    answer: str,
    refusals: openapi.Refusals = ANY,
    *,
    needs_key: bool = True,
) -> dict[str, Any]:
    return path_item(name, summary, {JSON: ref(answer)}, refusals, needs_key=needs_key)


def _of_a_model(path: str, name: str, *parameters: Schema) -> dict[str, dict[str, Any]]:
    def get(end: str, summary: str, answer: str) -> dict[str, Any]:
        return path_item(
            name + end, summary, {JSON: ref(answer)}, OF_A_MODEL, parameters=parameters
        )

    return {
        path: get("_metadata", "What a model takes and returns", "ModelMetadata"),
        f"{path}/ready": get("_ready", "Whether a model is ready", "ModelReady"),
        f"{path}/config": get("_config", "A model's configuration, in Triton's format", "Any"),
        f"{path}/stats": get("_stats", "Statistics of a model", "Statistics"),
        f"{path}/infer": path_item(
            f"{name}_infer",
            "Find the digits",
            {JSON: ref("InferResponse"), BYTES: BINARY},
            (errors.UnknownModel, errors.UnsupportedBody, errors.TookTooLong, *CONTROL),
            parameters=(*parameters, JSON_LENGTH),
            body={JSON: ref("InferRequest"), BYTES: BINARY},
        ),
    }


def _list(items: Schema, **more: object) -> Schema:
    return {"type": "array", "items": items, **more}


def _object(properties: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        **({"required": list(properties)} if properties else {}),
    }


def _one_of(names: Iterable[str]) -> Schema:
    return {**TEXT, "enum": list(names)}


_ANY_OF_JSON = {"anyOf": [TEXT, {"type": "integer"}, {"type": "number"}, BOOLEAN]}
_PARAMETERS = {"type": "object", "nullable": True, "additionalProperties": _ANY_OF_JSON}
_NUMBERS = _list({"type": "number"})
_ROW = {**_NUMBERS, "minItems": SIDE, "maxItems": SIDE}
_NESTED = _list(_list(_ROW, minItems=SIDE, maxItems=SIDE))
_DURATION = ref("Duration")

SCHEMAS: dict[str, Schema] = {
    "Any": {"type": "object"},
    "Error": _object({"error": {**TEXT, "description": "What was wrong."}}),
    "Live": _object({"live": BOOLEAN}),
    "Ready": _object({"live": BOOLEAN, "ready": BOOLEAN}),
    "Models": _object({"models": _list(TEXT)}),
    "ServerMetadata": _object(
        {"name": _one_of([NAME]), "version": TEXT, "extensions": _list(_one_of(EXTENSIONS))}
    ),
    "ModelReady": _object({"name": TEXT, "ready": BOOLEAN}),
    "TensorMetadata": _object(
        {"name": TEXT, "datatype": TEXT, "shape": _list({"type": "integer"})}
    ),
    "ModelMetadata": _object(
        {
            "name": TEXT,
            "versions": _list(TEXT, minItems=1),
            "platform": TEXT,
            "inputs": _list(ref("TensorMetadata")),
            "outputs": _list(ref("TensorMetadata")),
            "properties": {"type": "object", "additionalProperties": TEXT},
        }
    ),
    "Duration": _object({"count": COUNT, "ns": COUNT}),
    "BatchStatistics": _object(
        {
            "batch_size": {
                **COUNT,
                "description": "A power of two: batches up to this size, above half of it.",
            },
            **dict.fromkeys(PHASES[1:], _DURATION),
        }
    ),
    "ModelStatistics": _object(
        {
            "name": TEXT,
            "version": TEXT,
            **dict.fromkeys(("last_inference", "inference_count", "execution_count"), COUNT),
            "inference_stats": _object(
                dict.fromkeys((*OUTCOMES, *PHASES, "cache_hit", "cache_miss"), _DURATION)
            ),
            "batch_stats": _list(ref("BatchStatistics")),
        }
    ),
    "Statistics": _object({"model_stats": _list(ref("ModelStatistics"))}),
    "InferInput": _object(
        {
            "name": _one_of(INPUTS),
            "datatype": _one_of(spec.datatype for spec in INPUTS.values()),
            "shape": _list({"type": "integer", "minimum": 1}, minItems=1, maxItems=3),
        },
        {
            "parameters": _PARAMETERS,
            "data": {
                "description": f"Numbers from 0 to {BYTE} or 0 to 1, row by row or nested like the "
                "shape; or pictures in base64. Left out if the tensor is binary.",
                "anyOf": [_NUMBERS, _NESTED, _list(TEXT)],
            },
        },
    ),
    "InferRequestedOutput": _object(
        {"name": _one_of(spec.name for spec in OUTPUTS)}, {"parameters": _PARAMETERS}
    ),
    "InferRequest": {
        **_object(
            {"inputs": _list(ref("InferInput"), minItems=1, maxItems=1)},
            {
                "id": {**TEXT, "nullable": True},
                "parameters": _PARAMETERS,
                "outputs": _list(ref("InferRequestedOutput"), nullable=True),
            },
        ),
        "example": {
            "inputs": [
                {
                    "name": "images",
                    "datatype": "UINT8",
                    "shape": [1, SIDE, SIDE],
                    "data": [0] * SIDE**2,
                }
            ]
        },
    },
    "InferOutput": _object(
        {"name": TEXT, "datatype": TEXT, "shape": _list(COUNT, maxItems=2)},
        {
            "parameters": {"type": "object", "properties": {"binary_data_size": COUNT}},
            "data": _list({"anyOf": [{"type": "number"}, TEXT, BOOLEAN]}),
        },
    ),
    "InferResponse": _object(
        {"model_name": TEXT, "model_version": TEXT, "outputs": _list(ref("InferOutput"))},
        {"id": TEXT, "parameters": _PARAMETERS},
    ),
    "IndexRequest": _object({}, {"ready": BOOLEAN}),
    "Index": _list(
        _object(
            {
                "name": TEXT,
                "version": TEXT,
                "state": _one_of(["READY", "UNAVAILABLE"]),
                "reason": TEXT,
            }
        )
    ),
    "ControlRequest": _object({}, {"parameters": _PARAMETERS}),
}
