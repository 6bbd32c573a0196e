"""The protocol's OpenAPI document, as this server speaks it."""

from typing import Any

import serving
from imaging import SIDE
from serving import errors
from serving.api.tensors import BYTE
from serving.errors import STATUS, Refusal
from serving.protocol.inference import EXTENSIONS, INPUTS, NAME, OUTPUTS
from serving.protocol.statistics import OUTCOMES, PHASES

ANY = (errors.Unauthorized, errors.InternalError, errors.Overloaded)
OF_A_MODEL = (errors.UnknownModel, *ANY)
WITH_BODY = (
    errors.InvalidRequest,
    errors.SlowRequest,
    errors.BodyTooLarge,
    *ANY,
)

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
SIZE = {**COUNT, "description": "A power of two: of batches up to this size, and over half of it."}

MODEL = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "The model's name.",
    "schema": TEXT,
}
VERSION = {
    "name": "version",
    "in": "path",
    "required": True,
    "description": "The model's version.",
    "schema": TEXT,
}
JSON_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "Bytes of JSON at the beginning of the body, where binary tensors follow it.",
    "schema": COUNT,
}


def document() -> dict[str, Any]:
    """Return the document."""
    paths = {
        "/v2": _get("server_metadata", "What this server is", "ServerMetadata"),
        "/v2/": _get("server_metadata_slash", "The same", "ServerMetadata"),
        "/v2/health/live": _health("server_live", "Whether the server is alive", "Live"),
        "/v2/health/ready": _health(
            "server_ready", "Whether requests may be sent", "Ready", errors.Overloaded
        ),
        "/v2/openapi.json": _get("openapi", "This document", "Any"),
        "/v2/models": _get("models", "The models that are served", "Models"),
        "/v2/models/stats": _get("stats", "What was counted of all models", "Statistics"),
        **_of_a_model("/v2/models/{model}", "model", (MODEL,)),
        **_of_a_model("/v2/models/{model}/versions/{version}", "model_version", (MODEL, VERSION)),
        "/v2/repository/index": _post(
            "repository_index",
            "The models in the repository, served or not",
            {"application/json": {"schema": _ref("IndexRequest")}},
            {"application/json": {"schema": _ref("Index")}},
            WITH_BODY,
            required=False,
        ),
        **{
            f"/v2/repository/models/{{model}}/{name}": _post(
                name,
                f"{summary}; only with an API key",
                {"application/json": {"schema": _ref("ControlRequest")}},
                {"application/json": {"schema": {"type": "object"}}},
                (errors.Forbidden, errors.UnknownModel, *WITH_BODY),
                (MODEL,),
                required=False,
            )
            for name, summary in (
                ("load", "Load a model from its folder, anew if it is served"),
                ("unload", "Serve a model no more"),
            )
        },
    }
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "Open Inference Protocol",
            "version": serving.__version__,
            "description": "Pictures in, digits out, over the protocol that the clients of Triton, "
            "KServe and MLServer speak.",
        },
        "paths": paths,
        "security": [{}, {"bearer": []}, {"key": []}],
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _ref(schema: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _list(items: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


def _object(properties: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        **({"required": list(properties)} if properties else {}),
    }


def _of_a_model(
    path: str, name: str, parameters: tuple[dict[str, Any], ...]
) -> dict[str, dict[str, Any]]:
    def get(end: str, summary: str, answer: str) -> dict[str, Any]:
        return _get(f"{name}{end}", summary, answer, OF_A_MODEL, parameters)

    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        path: get("_metadata", "What a model takes and returns", "ModelMetadata"),
        f"{path}/ready": get("_ready", "Whether a model may be asked", "ModelReady"),
        f"{path}/config": get("_config", "A model's configuration, in Triton's words", "Any"),
        f"{path}/stats": get("_stats", "What was counted of a model", "Statistics"),
        f"{path}/infer": _post(
            f"{name}_infer",
            "Find the digits",
            {
                "application/json": {
                    "schema": _ref("InferRequest"),
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
                "application/octet-stream": binary,
            },
            {
                "application/json": {"schema": _ref("InferResponse")},
                "application/octet-stream": binary,
            },
            (errors.UnknownModel, *WITH_BODY, errors.UnsupportedBody, errors.TookTooLong),
            (*parameters, JSON_LENGTH),
        ),
    }


def _get(
    name: str,
    summary: str,
    answer: str,
    kinds: tuple[type[Refusal], ...] = ANY,
    parameters: tuple[dict[str, Any], ...] = (),
) -> dict[str, Any]:
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "parameters": list(parameters),
            "responses": {
                "200": {
                    "description": "It is so.",
                    "content": {"application/json": {"schema": _ref(answer)}},
                },
                **_errors(kinds),
            },
        }
    }


def _health(name: str, summary: str, answer: str, *kinds: type[Refusal]) -> dict[str, Any]:
    described = _get(name, summary, answer, kinds)
    described["get"]["security"] = [{}]
    return described


def _post(
    name: str,
    summary: str,
    content: dict[str, Any],
    answer: dict[str, Any],
    kinds: tuple[type[Refusal], ...],
    parameters: tuple[dict[str, Any], ...] = (),
    *,
    required: bool = True,
) -> dict[str, Any]:
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "parameters": list(parameters),
            "requestBody": {"required": required, "content": content},
            "responses": {
                "200": {"description": "Done.", "content": answer},
                **_errors(kinds),
            },
        }
    }


def _errors(kinds: tuple[type[Refusal], ...]) -> dict[str, Any]:
    meanings: dict[int, list[str]] = {}
    for kind in kinds:
        meanings.setdefault(STATUS[kind.code], []).append(f"{kind.__doc__}")
    content = {"application/json": {"schema": _ref("Error")}}
    return {
        str(status): {"description": "\n\n".join(lines), "content": content}
        for status, lines in sorted(meanings.items())
    }


_DURATION = _object({"count": COUNT, "ns": COUNT})
_STATISTICS = (*OUTCOMES, *PHASES, "cache_hit", "cache_miss")
_PARAMETERS = {
    "type": "object",
    "nullable": True,
    "additionalProperties": {
        "anyOf": [TEXT, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}]
    },
}
_TENSOR = _object({"name": TEXT, "datatype": TEXT, "shape": _list({"type": "integer"})})
_NUMBERS = _list({"type": "number"})
_SQUARES = _list(
    _list(_list({"type": "number"}, minItems=SIDE, maxItems=SIDE), minItems=SIDE, maxItems=SIDE)
)

SCHEMAS: dict[str, Any] = {
    "Any": {"type": "object"},
    "Error": _object({"error": {"type": "string", "description": "A sentence."}}),
    "Live": _object({"live": {"type": "boolean"}}),
    "Ready": _object({"live": {"type": "boolean"}, "ready": {"type": "boolean"}}),
    "Models": _object({"models": _list(TEXT)}),
    "ServerMetadata": _object(
        {
            "name": {"type": "string", "enum": [NAME]},
            "version": TEXT,
            "extensions": _list({"type": "string", "enum": list(EXTENSIONS)}),
        }
    ),
    "ModelReady": _object({"name": TEXT, "ready": {"type": "boolean"}}),
    "ModelMetadata": _object(
        {
            "name": TEXT,
            "versions": _list(TEXT, minItems=1),
            "platform": TEXT,
            "inputs": _list(_TENSOR),
            "outputs": _list(_TENSOR),
            "properties": {"type": "object", "additionalProperties": TEXT},
        }
    ),
    "Statistics": _object(
        {
            "model_stats": _list(
                _object(
                    {
                        "name": TEXT,
                        "version": TEXT,
                        "last_inference": COUNT,
                        "inference_count": COUNT,
                        "execution_count": COUNT,
                        "inference_stats": _object(
                            dict.fromkeys(
                                (*OUTCOMES, *PHASES, "cache_hit", "cache_miss"),
                                _DURATION,
                            )
                        ),
                        "batch_stats": _list(
                            _object({"batch_size": SIZE, **dict.fromkeys(PHASES[1:], _DURATION)})
                        ),
                    }
                )
            )
        }
    ),
    "InferRequest": _object(
        {
            "inputs": _list(
                _object(
                    {
                        "name": {"type": "string", "enum": list(INPUTS)},
                        "datatype": {
                            "type": "string",
                            "enum": [spec.datatype for spec in INPUTS.values()],
                        },
                        "shape": _list({"type": "integer", "minimum": 1}, minItems=1, maxItems=3),
                    },
                    {
                        "parameters": _PARAMETERS,
                        "data": {
                            "description": f"Numbers of 0…{BYTE} or 0…1, row by row or nested as "
                            "the shape is; or pictures in base64. Left out where the tensor is "
                            "binary.",
                            "anyOf": [_NUMBERS, _SQUARES, _list(TEXT)],
                        },
                    },
                ),
                minItems=1,
                maxItems=1,
            )
        },
        {
            "id": {"type": "string", "nullable": True},
            "parameters": _PARAMETERS,
            "outputs": _list(
                _object(
                    {
                        "name": {
                            "type": "string",
                            "enum": [spec.name for spec in OUTPUTS],
                        }
                    },
                    {"parameters": _PARAMETERS},
                ),
                nullable=True,
            ),
        },
    ),
    "InferResponse": _object(
        {
            "model_name": TEXT,
            "model_version": TEXT,
            "outputs": _list(
                _object(
                    {"name": TEXT, "datatype": TEXT, "shape": _list(COUNT, maxItems=2)},
                    {
                        "parameters": {
                            "type": "object",
                            "properties": {"binary_data_size": COUNT},
                        },
                        "data": _list({"anyOf": [{"type": "number"}, TEXT, {"type": "boolean"}]}),
                    },
                )
            ),
        },
        {"id": TEXT, "parameters": _PARAMETERS},
    ),
    "IndexRequest": _object({}, {"ready": {"type": "boolean"}}),
    "Index": _list(
        _object(
            {
                "name": TEXT,
                "version": TEXT,
                "state": {"type": "string", "enum": ["READY", "UNAVAILABLE"]},
                "reason": TEXT,
            }
        )
    ),
    "ControlRequest": _object({}, {"parameters": _PARAMETERS}),
}
