"""The protocol over HTTP: its addresses and their endpoints."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar, TypeVar

from pydantic import TypeAdapter

from imaging import SIDE
from serving.api.admission import Admission
from serving.api.bodies import Bodies
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
)
from serving.protocol import description, inference, rest_messages
from serving.protocol.rest_messages import CONTROL, INDEX, JSON_LENGTH
from serving.protocol.tensors import quoted
from serving.settings import Settings
from serving.telemetry import metrics
from serving.work import while_connected

PREFIX = "/v2"
LIVE = f"{PREFIX}/health/live"
READY = f"{PREFIX}/health/ready"

# The limit of JSON bytes: the pixels of the largest request as FP32 (at most 22 digits, a comma and
# a space each) or one picture in base64, plus some for the rest.
VALUE_BYTES = 24
ENVELOPE = 64_000

INLINE_BYTES = 1_000_000  # of JSON; reading more would block the event loop for milliseconds
WATCHED_BYTES = 100_000  # requests with a larger body are cancelled when the client disconnects

MAX_CONTROL_BYTES = 64_000  # of a request to the repository

T = TypeVar("T")


def is_under(path: str) -> bool:
    """Whether an address belongs to the protocol."""
    return path.startswith(PREFIX) and path[len(PREFIX) : len(PREFIX) + 1] in ("", "/")


def refuse(error: Refusal) -> Response:
    """Return the response for an error, in the protocol's form."""
    metrics.count_error(error.code)
    return in_json({"error": str(error)}, STATUS[error.code], headers_of(error))


def template(path: str) -> tuple[str, dict[str, str]]:
    """Split an address into its OpenAPI template and the values of its parameters."""
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
    """Prefix endpoints with the address of a model, and of a model's version."""
    model = f"{PREFIX}/models/{{model}}"
    return {
        start + end: methods
        for start in (model, f"{model}/versions/{{version}}")
        for end, methods in endpoints.items()
    }


class Routes:
    """The protocol's addresses over HTTP.

    Args:
        server: Answers the requests.
        admission: Whether the service is shutting down, and whether it has keys.
        bodies: Reads request bodies.
        settings: The limits.
        run: Calls a function in a thread, for anything but inference.
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
        self._max_batch = settings.max_batch
        self._json_limit = ENVELOPE + max(
            VALUE_BYTES * SIDE**2 * settings.max_batch, 4 * settings.max_image_bytes // 3
        )
        self._limit = self._json_limit + settings.max_batch_bytes

    async def answer(self, address: str, names: dict[str, str], request: Request) -> Response:
        """Answer a request to an address split by `template`.

        Raises:
            RequestError, PictureError: The request's error.
        """
        methods = self.TABLE.get(address)
        if methods is None:
            raise NotFound(
                f"There is nothing at this address. See {PREFIX}/openapi.json for all addresses."
            )
        method = request.method
        endpoint = methods.get("GET" if method == "HEAD" else method)
        if endpoint is None:
            (allowed,) = methods
            raise MethodNotAllowed(f"This address accepts only {allowed}.", allow=allowed)
        return await endpoint(self, request, **names)

    async def _metadata(self, _: Request) -> Response:
        return in_json(self._server.metadata())

    async def _live(self, _: Request) -> Response:
        return in_json({"live": True})

    async def _ready(self, _: Request) -> Response:
        if self._admission.draining.is_set():
            raise Overloaded("The service is shutting down. Send requests elsewhere.")
        # The specification's text has "live" here, but KServe's client expects "ready".
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
        sent = await self._control(request, INDEX)
        return in_json(await self._run(self._server.index, sent.get("ready", False)))

    async def _load(self, request: Request, model: str) -> Response:
        await self._may_change(request)
        await self._run(self._server.load, model)
        return in_json({})

    async def _unload(self, request: Request, model: str) -> Response:
        await self._may_change(request)
        await self._run(self._server.unload, model)
        return in_json({})

    async def _may_change(self, request: Request) -> None:
        """Check that models may be loaded and unloaded, and the request's parameters."""
        if not self._admission.wants_keys:
            raise Forbidden(
                "Loading and unloading models requires an API key, and this service has none. Set "
                "QMNIST_API_KEYS."
            )
        sent = await self._control(request, CONTROL)
        if unknown := set(sent.get("parameters") or ()) - {"unload_dependents"}:
            raise InvalidRequest(
                f"The parameters {quoted(sorted(unknown))} are not supported: a model is always "
                "loaded from its folder."
            )

    async def _control(self, request: Request, kind: TypeAdapter[T]) -> T:
        def too_large() -> BodyTooLarge:
            return BodyTooLarge(
                f"The request is too large. Send at most {MAX_CONTROL_BYTES:,} bytes."
            )

        async with self._bodies.read(request, MAX_CONTROL_BYTES, too_large) as body:
            return rest_messages.parse(body or b"{}", kind, self._max_batch)

    async def _infer(self, request: Request, model: str, version: str | None = None) -> Response:
        header = request.headers.get(JSON_LENGTH)
        limit = self._limit if header is not None else self._json_limit
        async with self._bodies.read(request, limit, self._too_large) as body:
            length = rest_messages.json_length(header, len(body))
            if length > self._json_limit:
                raise self._too_large()
            inferring = self._server.infer(
                model,
                version,
                partial(rest_messages.read, body, length, self._max_batch),
                rest_messages.write,
                large=length > INLINE_BYTES,
            )
            if len(body) <= WATCHED_BYTES:
                return await inferring
            return await while_connected(request, inferring)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The request is too large. Send at most {self._limit:,} bytes, of which at most "
            f"{self._json_limit:,} are JSON."
        )

    # By OpenAPI template, then by method.
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
