"""The protocol over HTTP: JSON, and Triton's binary tensors behind it."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

import simdjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from imaging import SIDE
from serving.api.admission import Admission
from serving.api.bodies import Bodies
from serving.api.contents import Contents, JSONContents, NoContents, RawContents, parse_json
from serving.api.http import Request, Response, in_json
from serving.api.responses import headers_of
from serving.errors import (
    STATUS,
    BodyTooLarge,
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    Refusal,
    first_mistake,
)
from serving.protocol import description, inference
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
from serving.settings import Settings
from serving.telemetry import metrics
from serving.work import while_connected

PREFIX = "/v2"
LIVE = f"{PREFIX}/health/live"
READY = f"{PREFIX}/health/ready"

JSON_LENGTH = "inference-header-content-length"

# Bytes of JSON that are read: each of the largest request's pixels as a number of FP32 (at most 22
# digits, and a comma and a space), or one picture in base64; and some for the rest.
VALUE_BYTES = 24
ENVELOPE = 64_000

INLINE_BYTES = 1_000_000  # of JSON: reading more would hold up others for milliseconds
WATCHED_BYTES = 100_000  # what a larger body asks for is given up once its client disconnects

MAX_CONTROL_BYTES = 64_000  # of what is sent to the repository


class _Message(BaseModel):
    """What is around a tensor's numbers in JSON, in no other types than these."""

    model_config = ConfigDict(strict=True)


T = TypeVar("T", bound=_Message)


class _Tensor(_Message):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Parameter] | None = None
    data: Any = None


class _Wanted(_Message):
    name: str
    parameters: dict[str, Parameter] | None = None


class _Request(_Message):
    inputs: list[_Tensor]
    outputs: list[_Wanted] | None = None
    id: str | None = None
    parameters: dict[str, Parameter] | None = None


class _Index(_Message):
    ready: bool = False


class _Control(_Message):
    parameters: dict[str, Parameter] | None = None


_KINDS: dict[str, type[_Message]] = {"inputs": _Tensor, "outputs": _Wanted}


def is_under(path: str) -> bool:
    """Whether an address is one of the protocol's."""
    return path.startswith(PREFIX) and path[len(PREFIX) : len(PREFIX) + 1] in ("", "/")


def refuse(error: Refusal) -> Response:
    """Answer a request with what was wrong with it, as the protocol has it."""
    metrics.count_error(error.code)
    return in_json({"error": str(error)}, STATUS[error.code], headers_of(error))


def template(path: str) -> tuple[str, dict[str, str]]:
    """Split an address into its OpenAPI template and what stands in the places of its names."""
    parts = path.split("/")
    names: dict[str, str] = {}

    def name(place: int, word: str) -> None:
        if len(parts) > place:
            names[word], parts[place] = parts[place], f"{{{word}}}"

    if parts[2:3] == ["models"] and parts[3:] != ["stats"]:
        name(3, "model")
        if parts[4:5] == ["versions"]:
            name(5, "version")
    elif parts[2:4] == ["repository", "models"]:
        name(4, "model")
    return "/".join(parts), names


Endpoint = Callable[..., Awaitable[Response]]
Methods = dict[str, Endpoint]


def _of_models(endpoints: dict[str, Methods]) -> dict[str, Methods]:
    """Complete the ends of addresses to those of a model, and of one in a version."""
    model = f"{PREFIX}/models/{{model}}"
    return {
        start + end: methods
        for start in (model, f"{model}/versions/{{version}}")
        for end, methods in endpoints.items()
    }


class Routes:
    """The protocol's addresses.

    Args:
        server: Answers.
        admission: Knows whether the service is shutting down, and whether it has keys.
        bodies: Reads requests.
        settings: The limits.
        run: Calls a function in a thread, of what is no inference.
    """

    def __init__(
        self,
        server: inference.Server,
        admission: Admission,
        bodies: Bodies,
        settings: Settings,
        run: inference.Run,
    ) -> None:
        self._server = server
        self._admission = admission
        self._bodies = bodies
        self._run = run
        self._json_limit = ENVELOPE + max(
            VALUE_BYTES * SIDE**2 * settings.max_batch, 4 * settings.max_image_bytes // 3
        )
        self._limit = self._json_limit + settings.max_batch_bytes

    async def answer(self, address: str, names: dict[str, str], request: Request) -> Response:
        """Answer a request, whose address `template` has split.

        Raises:
            RequestError, PictureError: What was wrong with it.
        """
        methods = self.TABLE.get(address)
        if methods is None:
            raise NotFound(
                f"There is nothing at this address; {PREFIX}/openapi.json describes what there is."
            )
        method = request.method
        endpoint = methods.get("GET" if method == "HEAD" else method)
        if endpoint is None:
            (allowed,) = methods
            raise MethodNotAllowed(f"This address takes {allowed} alone.", allow=allowed)
        return await endpoint(self, request, **names)

    async def _metadata(self, _: Request) -> Response:
        return in_json(self._server.metadata())

    async def _live(self, _: Request) -> Response:
        return in_json({"live": True})

    async def _ready(self, _: Request) -> Response:
        if self._admission.draining.is_set():
            raise Overloaded("The service is shutting down; send no more requests here.")
        # The specification's text has "live" here, and KServe's client wants "ready".
        return in_json({"live": True, "ready": True})

    async def _models(self, _: Request) -> Response:
        return in_json({"models": list(self._server.repository.models)})

    async def _model(self, _: Request, model: str, version: str | None = None) -> Response:
        return in_json(self._server.model_metadata(model, version))

    async def _model_ready(self, _: Request, model: str, version: str | None = None) -> Response:
        self._server.repository.get(model, version)
        return in_json({"name": model, "ready": True})

    async def _config(self, _: Request, model: str, version: str | None = None) -> Response:
        return in_json(self._server.model_config(model, version))

    async def _stats(
        self, _: Request, model: str | None = None, version: str | None = None
    ) -> Response:
        return in_json(await self._run(self._server.statistics, model, version))

    async def _description(self, _: Request) -> Response:
        return in_json(description.document())

    async def _index(self, request: Request) -> Response:
        sent = await self._control(request, _Index)
        return in_json(await self._run(self._server.index, sent.ready))

    async def _load(self, request: Request, model: str) -> Response:
        await self._may_change(request)
        await self._run(self._server.load, model)
        return in_json({})

    async def _unload(self, request: Request, model: str) -> Response:
        await self._may_change(request)
        await self._run(self._server.unload, model)
        return in_json({})

    async def _may_change(self, request: Request) -> None:
        """Check that models may be changed, and that nothing is asked that cannot be done."""
        if not self._admission.wants_keys:
            raise Forbidden(
                "Loading and unloading models takes an API key, and this service has none: set "
                "QMNIST_API_KEYS."
            )
        sent = await self._control(request, _Control)
        if unknown := set(sent.parameters or ()) - {"unload_dependents"}:
            raise InvalidRequest(
                f"The parameters {quoted(sorted(unknown))} are not taken: a model is what is in "
                "its folder."
            )

    async def _control(self, request: Request, kind: type[T]) -> T:
        def too_large() -> BodyTooLarge:
            return BodyTooLarge(
                f"The request is too large; at most {MAX_CONTROL_BYTES:,} bytes are read."
            )

        async with self._bodies.read(request, MAX_CONTROL_BYTES, too_large) as body:
            return _convert(body or b"{}", kind)

    async def _infer(self, request: Request, model: str, version: str | None = None) -> Response:
        header = request.headers.get(JSON_LENGTH)
        limit = self._limit if header is not None else self._json_limit
        async with self._bodies.read(request, limit, self._too_large) as body:
            length = _json_length(header, len(body))
            if length > self._json_limit:
                raise self._too_large()
            inferring = self._server.infer(
                model,
                version,
                partial(_read, body, length),
                _write,
                large=length > INLINE_BYTES,
            )
            if len(body) <= WATCHED_BYTES:
                return await inferring
            return await while_connected(request, inferring)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The request is too large; at most {self._limit:,} bytes are read, of which at most "
            f"{self._json_limit:,} of JSON."
        )

    # By OpenAPI's templates, then by method.
    TABLE: ClassVar[dict[str, Methods]] = {
        PREFIX: {"GET": _metadata},
        f"{PREFIX}/": {"GET": _metadata},
        LIVE: {"GET": _live},
        READY: {"GET": _ready},
        f"{PREFIX}/openapi.json": {"GET": _description},
        f"{PREFIX}/models": {"GET": _models},
        f"{PREFIX}/models/stats": {"GET": _stats},
        **_of_models(
            {
                "": {"GET": _model},
                "/ready": {"GET": _model_ready},
                "/config": {"GET": _config},
                "/stats": {"GET": _stats},
                "/infer": {"POST": _infer},
            }
        ),
        f"{PREFIX}/repository/index": {"POST": _index},
        f"{PREFIX}/repository/models/{{model}}/load": {"POST": _load},
        f"{PREFIX}/repository/models/{{model}}/unload": {"POST": _unload},
    }


def _json_length(header: str | None, size: int) -> int:
    if header is None:
        return size
    # No more digits than Python turns into a number in no time.
    if not header.isascii() or not header.isdecimal() or len(header) > 18:
        raise InvalidRequest(
            f"Inference-Header-Content-Length must be a number of bytes, not {quoted(header)}."
        )
    if int(header) > size:
        raise InvalidRequest(
            f"Inference-Header-Content-Length says {int(header):,} bytes, and the body has only "
            f"{size:,}."
        )
    return int(header)


def _build(value: Any, kind: type[_Message] | None) -> Any:  # noqa: ANN401
    """Build of an object what its kind has, but no tensor's data; `None` is no object."""
    if kind is None:
        return value
    if not isinstance(value, simdjson.Object):
        raise InvalidRequest("The request is none of the protocol's: there is no object for one.")
    built = {}
    for name in kind.model_fields:
        if name not in value:
            continue
        each: Any = value[name]
        if name != "data" and isinstance(each, simdjson.Array | simdjson.Object):
            if len(each) > LONGEST_LIST:
                raise InvalidRequest(f"{name!r} has more than {LONGEST_LIST:,} entries.")
            if isinstance(each, simdjson.Array):
                each = [_build(item, _KINDS.get(name)) for item in each]
            else:
                each = _parameters(each)
        built[name] = each
    return built


def _parameters(value: simdjson.Object) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {}
    for name, each in value.items():
        if not isinstance(each, Parameter):
            raise InvalidRequest(
                f"The parameter {quoted(name)} must be text, a number or a boolean."
            )
        parameters[name] = each
    return parameters


def _convert(text: bytes, kind: type[T]) -> T:
    """Read JSON as an object of some kind; what the kind does not have is passed over."""
    try:
        return kind.model_validate(_build(parse_json(text), kind))
    except ValidationError as error:
        raise InvalidRequest(
            f"The request is none of the protocol's: {first_mistake(error)}."
        ) from error


def _read(body: bytes, length: int) -> InferRequest:
    """Read an inference request: `length` bytes of JSON, then the binary tensors."""
    text = body[:length]
    sent = _convert(text, _Request)
    lists = 1 + len(sent.inputs) + (sent.outputs is not None)
    brackets = text.count(b"[") - lists
    tensors = memoryview(body)[length:]
    inputs = []
    for tensor in sent.inputs:
        contents, tensors = _contents(tensor, tensors, brackets)
        inputs.append(
            Input(tensor.name, tensor.datatype, tensor.shape, contents, tensor.parameters or {})
        )
    if tensors:
        raise InvalidRequest(
            f"The body has {len(tensors):,} bytes more than the binary data of its inputs."
        )
    outputs = [RequestedOutput(each.name, each.parameters or {}) for each in sent.outputs or ()]
    return InferRequest(inputs, outputs, sent.id or "", sent.parameters or {})


def _contents(tensor: _Tensor, rest: memoryview, brackets: int) -> tuple[Contents, memoryview]:
    """Find a tensor's contents, in JSON or at the beginning of the `rest` of the body."""
    name, size = quoted(tensor.name), (tensor.parameters or {}).get("binary_data_size")
    if size is None:
        if "data" not in tensor.model_fields_set:
            return NoContents(), rest
        return JSONContents(tensor.data, brackets), rest
    if "data" in tensor.model_fields_set:
        raise InvalidRequest(f"The input {name} has both data and a binary_data_size.")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise InvalidRequest(
            f"The binary_data_size of the input {name} must be a number of bytes, not "
            f"{quoted(size)}."
        )
    if size > len(rest):
        raise InvalidRequest(
            f"The input {name} announces {quoted(size)} bytes of binary data, and {len(rest):,} "
            "are there."
        )
    return RawContents(rest[:size]), rest[size:]


def _write(request: InferRequest, response: InferResponse) -> Response:
    """Write an answer."""
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
