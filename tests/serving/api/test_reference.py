"""The pages on the HTTP API and on errors list everything that exists, and nothing else."""

import re
from typing import Any

import numpy as np
import pytest
from starlette.routing import Route

from artifact import Acceptance, Card
from imaging.decoding import FORMATS, MAX_SCANS, MAX_SEGMENTS
from imaging.heif import MAX_TILES
from serving.api import arrays, description, pages
from serving.api.frame import CLIENT_DISCONNECTED, ID_HEADER
from serving.api.openapi import JSON
from serving.api.responses import ERROR_CODE
from serving.errors import STATUS, MethodNotAllowed, RequestError
from serving.inference.classifier import Predictions
from serving.protocol import rest
from tests.documents import REFERENCE, read, rows, words

CARD = REFERENCE / "card.md"
ERRORS = REFERENCE / "errors.md"
HTTP = REFERENCE / "http-api.md"

DOCUMENT = description.document()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OBJECTS = [
    name
    for name, schema in SCHEMAS.items()
    if "properties" in schema and not name.startswith("Several")
]


def kind(schema: dict[str, Any]) -> str:
    """Return the type of a schema in the words of the pages."""
    if "anyOf" in schema:
        kinds = list(map(kind, schema["anyOf"]))
        return (", or " if kinds[0].startswith("list") else " or ").join(kinds)
    if "$ref" in schema:
        name: str = schema["$ref"].rpartition("/")[2]
        return name if name in OBJECTS else kind(SCHEMAS[name])
    if schema["type"] == "array":
        return f"list of {plural(kind(schema['items']))}"
    if "additionalProperties" in schema:
        return f"object of {plural(kind(schema['additionalProperties']))}"
    return str(schema["type"])


def plural(kinds: str) -> str:
    """Return the plural of a type: each noun in "string or null" gets an s."""
    first, *more = kinds.split(" of ", 1)
    return " of ".join([re.sub(r"\b(?!or\b)(\w*[^\Ws])\b", r"\1s", first), *more])


def unlinked(cell: str) -> str:
    """Return a cell without its links."""
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", cell)


def test_the_endpoints() -> None:
    documented = {row["endpoint"]: row for row in rows(HTTP, "endpoint") if "methods" in row}
    pages_ = {route.path for route in pages.routes() if isinstance(route, Route)} - {pages.UI}
    others = {f"{pages.UI}/", "/docs.json", rest.PREFIX} | pages_
    assert documented.keys() == DOCUMENT["paths"].keys() | others
    for path, operations in DOCUMENT["paths"].items():
        ((method, operation),) = operations.items()
        assert documented[path]["methods"] == {"get": "GET, HEAD", "post": "POST"}[method]
        assert documented[path]["API key"] == ("no" if "security" in operation else "yes")


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENT["paths"] if f"## `{path}`\n" in read(HTTP)]
)
def test_the_parameters(path: str) -> None:
    (operation,) = DOCUMENT["paths"][path].values()
    content = operation.get("requestBody", {}).get("content", {})
    sent = [(each["name"], "query", each["schema"]) for each in operation["parameters"]]
    for place, media_type in (("form", "multipart/form-data"), ("JSON", JSON)):
        schema = content.get(media_type, {}).get("schema", {})
        sent += [(name, place, each) for name, each in schema.get("properties", {}).items()]
    documented = rows(HTTP, "parameter", under=f"`{path}`")
    assert {(row["parameter"], place) for row in documented for place in row["in"].split(", ")} == {
        (name, place) for name, place, _ in sent
    }
    kinds = {row["parameter"]: row["type"].rpartition("in JSON, ")[2] for row in documented}
    assert kinds == {name: kind(schema).removesuffix(" or null") for name, _, schema in sent}


@pytest.mark.parametrize("path", ["/predict", "/predict_batch", "/classify"])
def test_the_types_of_bodies(path: str) -> None:
    content = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]
    documented = rows(HTTP, "body", under=f"`{path}`")
    types = {each for row in documented for each in words(row["`Content-Type`"])}
    assert types == content.keys() - {"image/*"}


@pytest.mark.parametrize("name", OBJECTS)
def test_the_fields(name: str) -> None:
    fields = SCHEMAS[name]["properties"]
    if name == "ServedModel":
        own = Card.model_fields.keys()
        card = {row["field"]: unlinked(row["type"]) for row in rows(CARD, "field", under="Card")}
        assert card == {field: kind(fields[field]) for field in own}
        fields = {field: schema for field, schema in fields.items() if field not in own}
    (page,) = (page for page in (CARD, ERRORS, HTTP) if f"# {name}\n" in read(page))
    documented = {row["field"]: unlinked(row["type"]) for row in rows(page, "field", under=name)}
    assert documented == {field: kind(schema) for field, schema in fields.items()}


def test_the_answers_of_several_models() -> None:
    documented = {
        words(row["object"])[0]: {words(row["field"])[0]: unlinked(row["type"])}
        for row in rows(HTTP, "endpoint", under="Several models")
    }
    assert documented == {
        name: {field: kind(each) for field, each in schema["properties"].items()}
        for name, schema in SCHEMAS.items()
        if name.startswith("Several")
    }


def test_the_columns_of_arrays() -> None:
    none = np.zeros((1, 10), np.float32)
    acceptance = Acceptance(confidence=0, typicality=0)
    found = Predictions(none, none, np.zeros(1, np.float32), acceptance)

    def named(dtype: np.dtype[Any]) -> str:
        if dtype.subdtype is not None:
            return f"{dtype.shape[0]} x {dtype.base.name}"
        return "bytes" if dtype.kind == "S" else dtype.name

    kinds = arrays.rows_of(found).dtype
    assert [(row["column"], row["type"]) for row in rows(HTTP, "column")] == [
        (name, named(kinds[name])) for name in kinds.names or ()
    ]


def test_the_formats_and_their_limits() -> None:
    documented = {row["format"]: row["limits of its own"] for row in rows(HTTP, "format")}
    tiles = f"{MAX_TILES} tiles"
    assert documented == dict.fromkeys(FORMATS, "") | {
        "JPEG": f"{MAX_SCANS} scans, {MAX_SEGMENTS:,} segments",
        "HEIC": tiles,
        "AVIF": tiles,
    }


def test_the_headers_of_responses() -> None:
    documented = {row["response header"].lower() for row in rows(HTTP, "response header")}
    of_errors = {row["header"].lower() for row in rows(ERRORS, "header")}
    errors: list[Any] = [*RequestError.__subclasses__(), MethodNotAllowed("", "GET")]
    sent = {name.lower() for error in errors for name in error.headers}
    assert of_errors == sent | {ID_HEADER, ERROR_CODE.decode()}
    of_arrays = {"x-model", "x-model-version"}
    assert documented == of_errors | of_arrays | {"cache-control", "connection"}


def test_the_error_codes_and_their_statuses() -> None:
    documented = {row["code"]: int(row["HTTP"]) for row in rows(ERRORS, "code")}
    assert documented == STATUS


@pytest.mark.full  # for grpc
def test_the_statuses_of_errors_over_grpc() -> None:
    from serving.protocol.grpc import CODES  # noqa: PLC0415

    documented = {row["code"]: words(row["gRPC"]) for row in rows(ERRORS, "code")}
    names = {code: [CODES[STATUS[code]].name] for code, name in documented.items() if name}
    assert names == {code: name for code, name in documented.items() if name}
    sent = CODES.keys() - {CLIENT_DISCONNECTED}
    assert {STATUS[code] for code in names} == sent
