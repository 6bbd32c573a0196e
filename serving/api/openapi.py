"""Building blocks for the OpenAPI documents of the API and of the Open Inference Protocol."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

import serving
from serving import errors
from serving.errors import STATUS, Refusal

Schema = dict[str, Any]
Content = Mapping[str, Schema]  # by media type
Refusals = tuple[type[Refusal], ...]

JSON = "application/json"
BYTES = "application/octet-stream"

TEXT: Schema = {"type": "string"}
BINARY: Schema = {"type": "string", "format": "binary"}
BOOLEAN: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}

# The errors of any request, and of any with a body.
ANY: Refusals = (errors.Unauthorized, errors.InternalError, errors.Overloaded)
WITH_BODY: Refusals = (errors.InvalidRequest, errors.SlowRequest, *ANY)

_SCHEMAS = "#/components/schemas/"


def document(
    title: str,
    description: str,
    paths: Mapping[str, Mapping[str, Any]],
    schemas: Mapping[str, Schema],
) -> dict[str, Any]:
    """Return a document; one of the `schemas` is `Error`, the body of every refusal."""
    return {
        "openapi": "3.0.3",
        "info": {"title": title, "version": serving.__version__, "description": description},
        "paths": paths,
        # {} too, because a service may have no keys.
        "security": [{}, {"bearer": []}, {"key": []}],
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def path_item(
    name: str,
    summary: str,
    answer: Content,
    refusals: Refusals = ANY,
    *,
    parameters: Iterable[Schema] = (),
    body: Content | None = None,
    body_required: bool = True,
    needs_key: bool = True,
    description: str = "",
    tag: str = "Digits",
) -> dict[str, Any]:
    """Describe an address; its method is POST if it takes a body, otherwise GET.

    Args:
        name: The operation's id.
        summary: What it answers.
        answer: The answer's body, by media type.
        refusals: Its errors.
        parameters: Its parameters in path, query and headers.
        body: The request's body, by media type.
        body_required: Whether the body is required.
        needs_key: Whether it requires an API key, if the service has any.
        description: Anything else to know.
        tag: The heading that it is listed under.
    """
    operation: dict[str, Any] = {
        "tags": [tag],
        "operationId": name,
        "summary": summary,
        "description": description,
        "parameters": list(parameters),
        "responses": {"200": _response(f"{summary}.", answer), **_responses(refusals)},
    }
    if not needs_key:
        operation["security"] = [{}]
    if body is None:
        return {"get": operation}
    operation["requestBody"] = {"required": body_required, "content": _media(body)}
    return {"post": operation}


def parameter(place: str, name: str, description: str, schema: Schema = TEXT) -> Schema:
    """Describe a parameter; those in the path are required."""
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, "description": description, "schema": schema, **required}


def ref(schema: str | type) -> Schema:
    """Refer to one of the document's schemas."""
    return {"$ref": _SCHEMAS + (schema if isinstance(schema, str) else schema.__name__)}


def schemas_of(*types: type) -> dict[str, Schema]:
    """Return the schemas of the types of answers, and of all types that they contain."""
    adapters: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        (each.__name__, "serialization", TypeAdapter(each)) for each in types
    ]
    _, found = TypeAdapter.json_schemas(adapters, ref_template=f"{_SCHEMAS}{{model}}")
    schemas: dict[str, Schema] = found["$defs"]
    return schemas


def _responses(refusals: Refusals) -> dict[str, Any]:
    meanings: dict[int, list[str]] = {}
    for kind in refusals:
        meanings.setdefault(STATUS[kind.code], []).append(f"`{kind.code}`: {kind.__doc__}")
    return {
        str(status): _response("\n\n".join(lines), {JSON: ref("Error")})
        for status, lines in sorted(meanings.items())
    }


def _response(description: str, content: Content) -> dict[str, Any]:
    return {"description": description, "content": _media(content)}


def _media(content: Content) -> dict[str, Any]:
    return {kind: {"schema": schema} for kind, schema in content.items()}
