"""The protocol over gRPC, with gRPC's own health checks."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from numpy.typing import DTypeLike, NDArray

from serving.api.admission import Admission
from serving.api.bodies import Bodies
from serving.api.contents import BYTE, Contents, ContentsError, RawContents, check_count
from serving.api.frame import CLIENT_DISCONNECTED, ID_HEADER, Frames
from serving.errors import STATUS, InvalidRequest, SlowRequest, UnknownModel
from serving.protocol import inference, messages
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
from serving.telemetry.traces import Attributes, RequestTrace

logger = logging.getLogger("bentoml.digits")  # BentoML shows loggers below "bentoml"

METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
)
HEALTH = ("ServerLive", "ServerReady")  # these need no key

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    CLIENT_DISCONNECTED: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
OVERHEAD = 100_000  # bytes of a message besides its tensors

LARGE = 1_000_000  # bytes; reading the numbers of larger messages takes milliseconds

# The field of a message that holds the contents of each datatype.
FIELDS = {
    "UINT8": "uint_contents",
    "FP32": "fp32_contents",
    "INT64": "int64_contents",
    "BOOL": "bool_contents",
    "BYTES": "bytes_contents",
}

Method = Callable[[Any, int], Awaitable[bytes]]


class PortError(Exception):
    """The port cannot be opened; the message is the reason."""


def check_port(host: str, port: int) -> None:
    """Check that a port can be opened.

    Raises:
        PortError: It cannot.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            pass
    except OSError as error:
        raise PortError(f"QMNIST_GRPC_PORT={port} cannot be opened on {host}: {error}") from error


@asynccontextmanager
async def serve(
    server: inference.Server, admission: Admission, bodies: Bodies, settings: Settings
) -> AsyncIterator[None]:
    """Serve as long as the context lasts, then finish the requests in flight."""
    grpc_server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.max_batch_bytes + OVERHEAD),
            ("grpc.max_send_message_length", -1),
        ]
    )
    transport = Transport(server, admission, bodies, settings)
    handlers = {
        # No deserializer: gRPC would report invalid messages as the server's error. And a stream of
        # requests, which is the same on the wire, so that keys are checked before a body is read.
        name: grpc.stream_unary_rpc_method_handler(partial(transport.answer, name))
        for name in METHODS
    }
    grpc_server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(messages.SERVICE, handlers),)
    )
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, grpc_server)
    for name in ("", messages.SERVICE):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)

    # Each worker opens the port, and the system distributes the connections.
    host = f"[{settings.grpc_host}]" if ":" in settings.grpc_host else settings.grpc_host
    grpc_server.add_insecure_port(f"{host}:{settings.grpc_port}")
    await grpc_server.start()
    logger.info("Answering over gRPC on %s:%s", settings.grpc_host, settings.grpc_port)
    ending = asyncio.create_task(_end_with(admission.draining, checks))
    try:
        yield
    finally:
        admission.draining.set()
        await ending
        await grpc_server.stop(settings.timeout)


async def _end_with(draining: asyncio.Event, checks: health.aio.HealthServicer) -> None:
    await draining.wait()
    await checks.enter_graceful_shutdown()


class Transport:
    """Reads messages, calls the protocol's server, and writes its answers."""

    def __init__(
        self, server: inference.Server, admission: Admission, bodies: Bodies, settings: Settings
    ) -> None:
        self._server = server
        self._admission = admission
        self._bodies = bodies
        self._timeout = settings.timeout
        paths = [f"/{messages.SERVICE}/{name}" for name in METHODS]
        self._frames = Frames(admission, settings, paths, GRPCTrace)
        self._requests = {name: messages.of(f"{name}Request") for name in METHODS}
        self._methods: dict[str, Method] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
        }

    async def answer(self, name: str, _: object, call: Any) -> bytes:  # noqa: ANN401  untyped
        """Answer a call of a method."""
        headers = [
            (key.encode(), value.encode() if isinstance(value, str) else value)
            for key, value in call.invocation_metadata()
        ]
        path = f"/{messages.SERVICE}/{name}"
        frame = self._frames.make(
            "POST",
            path,
            {name.decode(): value.decode("latin-1") for name, value in headers},
        )
        call.set_trailing_metadata(((ID_HEADER, frame.request_id),))
        answer = b""
        with frame:
            if name not in HEALTH:
                self._frames.admission.check(headers)
            sent = await self._receive(call)
            with self._bodies.hold(len(sent)):
                answer = await self._methods[name](self._parse(name, sent), len(sent))
            frame.status = 200
        if frame.refused is not None:
            metrics.count_error(frame.refused.code)
            await call.abort(_code(STATUS[frame.refused.code]), str(frame.refused))
        return answer

    async def _receive(self, call: Any) -> bytes:  # noqa: ANN401
        try:
            async with asyncio.timeout(self._timeout):
                sent = await call.read()
        except TimeoutError:
            raise SlowRequest(
                f"The request did not arrive within {self._timeout:g} seconds."
            ) from None
        if not isinstance(sent, bytes):  # gRPC's marker of the end
            raise InvalidRequest("The call ended without a request.")
        return sent

    def _parse(self, name: str, sent: bytes) -> Any:  # noqa: ANN401  a protobuf message
        try:
            return self._requests[name].FromString(sent)
        except DecodeError as error:
            raise InvalidRequest(f"This is not a valid {name}Request: {error}.") from error

    async def _live(self, _: Any, _size: int) -> bytes:  # noqa: ANN401
        return _answer("ServerLive", live=True)

    async def _ready(self, _: Any, _size: int) -> bytes:  # noqa: ANN401
        return _answer("ServerReady", ready=not self._admission.draining.is_set())

    async def _model_ready(self, asked: Any, _size: int) -> bytes:  # noqa: ANN401
        ready = not self._admission.draining.is_set()
        try:
            self._server.repository.get(asked.name, asked.version or None)
        except UnknownModel:
            ready = False
        return _answer("ModelReady", ready=ready)

    async def _metadata(self, _: Any, _size: int) -> bytes:  # noqa: ANN401
        return _answer("ServerMetadata", **self._server.metadata())

    async def _model_metadata(self, asked: Any, _size: int) -> bytes:  # noqa: ANN401
        described = self._server.model_metadata(asked.name, asked.version or None)
        return _answer("ModelMetadata", **described)

    async def _infer(self, asked: Any, size: int) -> bytes:  # noqa: ANN401
        return await self._server.infer(
            asked.model_name,
            asked.model_version or None,
            partial(_read, asked),
            partial(_write, raw=bool(asked.raw_input_contents)),
            large=size > LARGE,
        )


class GRPCTrace(RequestTrace):
    """The spans of a gRPC call."""

    def __init__(self, _: str, path: str, headers: Mapping[str, str]) -> None:
        self._method = path.removeprefix("/")
        asked: Attributes = {"rpc.system.name": "grpc", "rpc.method": self._method}
        super().__init__(self._method, asked, headers)

    def describe(self, _: str | None, status: int) -> tuple[str, Attributes]:
        """Return the name and attributes of the conventions for RPC."""
        return self._method, {"rpc.response.status_code": _code(status).name}


def _code(status: int) -> grpc.StatusCode:
    """Return the gRPC status for an HTTP status."""
    if status < 400:
        return grpc.StatusCode.OK
    return CODES.get(status, grpc.StatusCode.INVALID_ARGUMENT)


@dataclass(frozen=True)
class TypedContents:
    """A tensor's contents in the typed field of a message."""

    contents: Any

    def numbers(self, dtype: DTypeLike, count: int, /) -> NDArray[Any]:
        """Return the numbers; see `Contents`."""
        name = FIELDS["UINT8" if dtype == np.uint8 else "FP32"]
        sent = getattr(self.contents, name)
        if len(sent) != count:
            raise ContentsError(f"has {len(sent):,} {name}, but its shape needs {count:,}")
        if dtype != np.uint8:
            return np.array(sent, dtype)
        numbers = np.array(sent, np.uint32)
        if numbers.max() > BYTE:
            raise ContentsError(f"has values above {BYTE}")
        return numbers.astype(np.uint8)

    def strings(self, count: int) -> list[bytes]:
        """Return the elements; see `Contents`."""
        check_count(len(self.contents.bytes_contents), count)
        return list(self.contents.bytes_contents)


def _read(asked: Any) -> InferRequest:  # noqa: ANN401
    raw = asked.raw_input_contents
    if max(len(asked.inputs), len(asked.outputs)) > LONGEST_LIST:
        raise InvalidRequest(f"There are more than {LONGEST_LIST:,} inputs or outputs.")
    if raw and len(raw) != len(asked.inputs):
        raise InvalidRequest(
            f"There are {len(asked.inputs):,} inputs and {len(raw):,} raw_input_contents. Send "
            "one for each input."
        )
    inputs = []
    for place, tensor in enumerate(asked.inputs):
        contents: Contents = TypedContents(tensor.contents)
        if raw:
            if tensor.HasField("contents"):
                raise InvalidRequest(
                    f"The input {quoted(tensor.name)} has contents, but the request also has "
                    "raw_input_contents. Send one."
                )
            contents = RawContents(raw[place])
        inputs.append(
            Input(tensor.name, tensor.datatype, tensor.shape, contents, _parameters(tensor))
        )
    outputs = [RequestedOutput(each.name, _parameters(each)) for each in asked.outputs]
    return InferRequest(inputs, outputs, asked.id, _parameters(asked))


def _parameters(message: Any) -> dict[str, Parameter]:  # noqa: ANN401
    if len(message.parameters) > LONGEST_LIST:
        raise InvalidRequest(f"There are more than {LONGEST_LIST:,} parameters in one place.")
    found = {}
    for name, parameter in message.parameters.items():
        kind = parameter.WhichOneof(messages.ONE_OF)
        if kind is None:
            raise InvalidRequest(f"The parameter {quoted(name)} has no value.")
        found[name] = getattr(parameter, kind)
    return found


def _write(_: InferRequest, response: InferResponse, *, raw: bool) -> bytes:
    """Write an answer, with raw tensors if the request had raw tensors."""
    outputs = []
    for output in response.outputs:
        described: dict[str, Any] = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": output.shape,
        }
        if not raw:
            described["contents"] = {FIELDS[output.datatype]: _values(output)}
        outputs.append(described)
    return _answer(
        "ModelInfer",
        model_name=response.model_name,
        model_version=response.model_version,
        id=response.id,
        parameters={name: _parameter(value) for name, value in response.parameters.items()},
        outputs=outputs,
        raw_output_contents=[output.raw() for output in response.outputs] if raw else [],
    )


def _values(output: Output) -> Sequence[Any]:
    if isinstance(output.data, Texts):
        return output.data.each(bytes)
    values: list[Any] = output.data.ravel().tolist()
    return values


def _parameter(value: Parameter) -> Any:  # noqa: ANN401
    kinds = {bool: "bool_param", str: "string_param", float: "double_param"}
    kind = kinds.get(type(value)) or ("int64_param" if value < 2**63 else "uint64_param")  # type: ignore[operator]
    return _PARAMETER(**{kind: value})


def _answer(kind: str, /, **fields: Any) -> bytes:  # noqa: ANN401
    message = _ANSWERS[kind](**fields)
    sent: bytes = message.SerializeToString()
    return sent


_ANSWERS = {name: messages.of(f"{name}Response") for name in METHODS}
_PARAMETER = messages.of("InferParameter")
