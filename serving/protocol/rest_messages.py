"""The protocol's messages over HTTP: JSON, optionally followed by Triton's binary tensors."""

from collections.abc import Sequence
from typing import Annotated, Any, NotRequired, TypeVar

from numpy.typing import NDArray
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from serving.api.contents import Contents, JSONContents, NoContents, RawContents, parse_json
from serving.api.http import Response, in_json
from serving.errors import InvalidRequest, first_mistake
from serving.protocol.inference import InferRequest, InferResponse
from serving.protocol.tensors import (
    LONGEST_LIST,
    Input,
    Output,
    Parameter,
    RequestedOutput,
    Texts,
    quoted,
)

JSON_LENGTH = "inference-header-content-length"

T = TypeVar("T")


def _check_parameters(parameters: dict[str, Any]) -> dict[str, Parameter]:
    for name, value in parameters.items():
        if not isinstance(value, Parameter):
            raise InvalidRequest(
                f"The parameter {quoted(name)} must be text, a number or a boolean."
            )
    return parameters


_NotTooLong = Field(max_length=LONGEST_LIST)
_Parameters = Annotated[dict[str, Any], _NotTooLong, AfterValidator(_check_parameters)]


class _Message(TypedDict):
    """A message whose fields are not converted from other types."""

    __pydantic_config__ = ConfigDict(strict=True)  # type: ignore[misc]  # pydantic's own attribute


class _Tensor(_Message):
    name: str
    datatype: str
    shape: Annotated[list[int], _NotTooLong]
    parameters: NotRequired[_Parameters | None]
    data: NotRequired[Any]


class _Wanted(_Message):
    name: str
    parameters: NotRequired[_Parameters | None]


class _Request(_Message):
    inputs: Annotated[list[_Tensor], _NotTooLong]
    outputs: NotRequired[Annotated[list[_Wanted], _NotTooLong] | None]
    id: NotRequired[str | None]
    parameters: NotRequired[_Parameters | None]


class _Index(_Message):
    ready: NotRequired[bool]


class _Control(_Message):
    parameters: NotRequired[_Parameters | None]


INFER = TypeAdapter(_Request)
INDEX = TypeAdapter(_Index)
CONTROL = TypeAdapter(_Control)


def parse(text: bytes, kind: TypeAdapter[T], pictures: int) -> T:
    """Parse JSON as a message; ignore unknown fields.

    Args:
        text: The JSON.
        kind: `INFER`, `INDEX` or `CONTROL`.
        pictures: The most pictures that it may hold.

    Raises:
        InvalidRequest: It is not such a message.
    """
    try:
        return kind.validate_python(parse_json(text, pictures))
    except ValidationError as error:
        raise InvalidRequest(
            f"The request does not follow the protocol: {first_mistake(error)}."
        ) from error


def json_length(header: str | None, size: int) -> int:
    """Return how many bytes of a body are JSON: all, unless there is a header.

    Args:
        header: The header `Inference-Header-Content-Length`.
        size: The body's size in bytes.

    Raises:
        InvalidRequest: The header is not a number, or exceeds the body's size.
    """
    if header is None:
        return size
    # Python takes long to convert very many digits.
    if not header.isascii() or not header.isdecimal() or len(header) > 18:
        raise InvalidRequest(
            f"Inference-Header-Content-Length must be a number of bytes, not {quoted(header)}."
        )
    if int(header) > size:
        raise InvalidRequest(
            f"Inference-Header-Content-Length says {int(header):,} bytes, but the body has only "
            f"{size:,}."
        )
    return int(header)


def read(body: bytes, length: int, pictures: int) -> InferRequest:
    """Read an inference request.

    Args:
        body: JSON, then the binary tensors.
        length: How many bytes of the body are JSON.
        pictures: The most pictures that the JSON may hold.

    Raises:
        InvalidRequest: It is not an inference request.
    """
    sent = parse(body[:length], INFER, pictures)
    tensors = memoryview(body)[length:]
    inputs = []
    for tensor in sent["inputs"]:
        parameters = tensor.get("parameters") or {}
        contents, tensors = _contents(tensor, parameters, tensors)
        inputs.append(
            Input(tensor["name"], tensor["datatype"], tensor["shape"], contents, parameters)
        )
    if tensors:
        raise InvalidRequest(
            f"The body has {len(tensors):,} bytes more than the binary data of its inputs."
        )
    outputs = [
        RequestedOutput(each["name"], each.get("parameters") or {})
        for each in sent.get("outputs") or ()
    ]
    return InferRequest(inputs, outputs, sent.get("id") or "", sent.get("parameters") or {})


def _contents(
    tensor: _Tensor, parameters: dict[str, Parameter], rest: memoryview
) -> tuple[Contents, memoryview]:
    """Return a tensor's contents, from JSON or the start of `rest`, and what is left of `rest`."""
    name, size = quoted(tensor["name"]), parameters.get("binary_data_size")
    if size is None:
        return JSONContents(tensor["data"]) if "data" in tensor else NoContents(), rest
    if "data" in tensor:
        raise InvalidRequest(f"The input {name} has both data and a binary_data_size. Send one.")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise InvalidRequest(
            f"The binary_data_size of the input {name} must be a number of bytes, not "
            f"{quoted(size)}."
        )
    if size > len(rest):
        raise InvalidRequest(
            f"The input {name} announces {quoted(size)} bytes of binary data, but the body has "
            f"only {len(rest):,}."
        )
    return RawContents(rest[:size]), rest[size:]


def write(request: InferRequest, response: InferResponse) -> Response:
    """Write an answer, with the outputs in binary that the request asks for."""
    all_binary = request.parameters.get("binary_data_output") is True
    binary = {
        output.name: output.parameters.get("binary_data", all_binary) is True
        for output in request.outputs
    }
    outputs, tensors = [], []
    for output in response.outputs:
        head = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if binary.get(output.name, all_binary):
            raw = output.raw()
            tensors.append(raw)
            outputs.append({**head, "parameters": {"binary_data_size": len(raw)}})
        else:
            outputs.append({**head, "data": _data(output)})
    answer: dict[str, Any] = {
        "model_name": response.model_name,
        "model_version": response.model_version,
    }
    if response.id:
        answer["id"] = response.id
    if response.parameters:
        answer["parameters"] = response.parameters
    answer["outputs"] = outputs
    written = in_json(answer)
    if not tensors:
        return written
    length = str(len(written.body)).encode()
    headers = [(b"content-type", b"application/octet-stream"), (JSON_LENGTH.encode(), length)]
    return Response(b"".join([written.body, *tensors]), headers)


def _data(output: Output) -> NDArray[Any] | Sequence[str]:
    if isinstance(output.data, Texts):
        return output.data.each(bytes.decode)
    return output.data.ravel()
