"""The BentoML service: reads requests, passes the pictures to `answers`, sends the answers."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

import bentoml
import orjson
from _bentoml_sdk import Service  # `service_class` must be a subclass
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from artifact import ONNX_FILE
from imaging import SIDE, open_picture
from imaging.errors import PictureTooLarge
from serving import settings
from serving.api import answers, arrays, connection, description, pages
from serving.api.admission import Admission
from serving.api.archives import Picture, unpack
from serving.api.bodies import Bodies
from serving.api.descriptors import (
    ClassificationOutput,
    PictureInput,
    PicturesInput,
    PixelsInput,
)
from serving.api.forms import OVERHEAD
from serving.api.gateway import Gateway, Route, Started
from serving.api.http import Request, Response, in_json
from serving.api.openapi import BYTES
from serving.api.requests import (
    ALL,
    is_form,
    is_json,
    parse_picture,
    parse_pictures,
    parse_pixels,
    several,
)
from serving.api.schemas import Classification, ModelList, Prediction, Predictions, Reading
from serving.errors import (
    REFUSALS,
    BodyTooLarge,
    InvalidRequest,
    Refusal,
    UnknownModel,
)
from serving.inference import state
from serving.inference.classifier import Classifier
from serving.inference.repository import LoadError, Repository
from serving.protocol import inference, rest
from serving.settings import SettingsError
from serving.telemetry import metrics, traces
from serving.work import Allowance, Threads, while_connected

logger = logging.getLogger("bentoml.digits")  # BentoML shows loggers below "bentoml"

# Pictures up to this many pixels and bytes are decoded in the event loop, because a thread would
# cost more than it saves. Larger ones would block it: of 10 MB, already reading the size can take
# seconds.
INLINE_PIXELS, INLINE_BYTES = 100_000, 50_000

# Large pictures that a worker decodes at once; each may take half a gigabyte. Batches of small ones
# run one at a time: two Python threads in parallel were a third slower when measured.
PICTURES_AT_ONCE = 2

ROOM = 8  # times the largest body: the bytes of all bodies that a worker holds

# Bytes per pixel in JSON: at most five on one line ("255, "), the rest for indentation.
JSON_BYTES = 20

# Requests that `/classify` answers with one call of a network, and how long one may wait, in ms.
# BentoML refuses requests that it expects to take longer, so this is a limit, not a target.
MAX_BATCHED = 64
BATCH_PATIENCE = 10_000

# BentoML needs some of the settings when the class is defined.
try:
    SETTINGS = settings.load()
    KEYS = SETTINGS.all_api_keys()
except SettingsError as error:
    sys.exit(f"qmnist-digits cannot start: {error}")


class GatewayService(Service[Any]):
    """A BentoML service behind a `Gateway`."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Return the ASGI application of a worker."""
        connection.install(SETTINGS.timeout)
        gateway = Gateway(
            super().to_asgi(is_main),
            SETTINGS,
            start=_start,
            paths=description.document()["paths"],
        )
        if not SETTINGS.cors_origins:
            return gateway
        return CORSMiddleware(
            gateway,
            allow_origins=SETTINGS.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=("X-Request-ID", "Retry-After", "X-Model", "X-Model-Version"),
        )


def _start(admission: Admission) -> Started:
    service: Any = bentoml.get_current_service()
    apis = {
        f"/{name}": Route(getattr(service, name).local, ("POST",))
        for name in ("predict", "predict_batch", "read")
    }
    server = inference.Server(service.repository, SETTINGS, service.batches.run)
    routes = rest.Routes(server, admission, service.bodies, SETTINGS, service.control.run)
    return Started(
        routes={**apis, **DESCRIPTIONS},
        protocol=routes.answer,
        lifespan=_lifespan(server, admission, service.bodies),
    )


@asynccontextmanager
async def _lifespan(
    server: inference.Server, admission: Admission, bodies: Bodies
) -> AsyncIterator[None]:
    """Watch the models, and serve gRPC, as long as the service runs."""
    async with AsyncExitStack() as stack:
        _log_address_of_page()
        if settings.wants_traces():
            stack.enter_context(traces.exporting())
        watching = (server.repository.watch(), metrics.watch_process(), metrics.shared.write_on())
        for each in watching:
            stack.callback(asyncio.create_task(each).cancel)
        if SETTINGS.grpc_port:
            from serving.protocol import grpc  # noqa: PLC0415  an extra

            await stack.enter_async_context(grpc.serve(server, admission, bodies, SETTINGS))
        yield


def _log_address_of_page() -> None:
    # BentoML passes each worker the addresses of all services.
    addresses = orjson.loads(os.environ.get("BENTOML_RUNNER_MAP", "{}"))
    name = bentoml.server_context.service_name
    if bentoml.server_context.worker_index == 1 and name in addresses:
        logger.info("Draw a digit: %s%s/", addresses[name], pages.UI)


def _check_grpc() -> None:
    try:
        from serving.protocol import grpc  # noqa: PLC0415  an extra
    except ImportError as error:
        sys.exit(
            f"qmnist-digits cannot start: QMNIST_GRPC_PORT={SETTINGS.grpc_port} needs an extra: "
            f"install qmnist-digits[grpc] ({error})"
        )
    try:
        grpc.check_port(SETTINGS.grpc_host, SETTINGS.grpc_port)
    except grpc.PortError as error:
        sys.exit(f"qmnist-digits cannot start: {error}")


def _check_tracing() -> None:
    try:
        traces.check()
    except traces.TracingError as error:
        sys.exit(f"qmnist-digits cannot start: {error}")


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request is too large. Send at most {limit:,} bytes.")


def _picture_too_large() -> PictureTooLarge:
    return PictureTooLarge(
        f"The picture is too large. Send one of at most {SETTINGS.max_image_bytes:,} bytes."
    )


def _respond(models: str | None, found: Sequence[object]) -> Response:
    """Return a model's answer; or, if several models were asked, their list."""
    return in_json(found[0] if several(models) is None else {"answers": found})


async def list_models(_: Request) -> Response:
    """Return all models with their cards."""
    service: Any = bentoml.get_current_service()
    models = [
        {"provider": classifier.provider, **classifier.card.model_dump()}
        for classifier in service.repository.models.values()
    ]
    return in_json(ModelList(default=SETTINGS.model, models=models))


async def download_model(request: Request) -> Response:
    """Return a model's ONNX file; if a version is named, it can be cached for ever."""
    service: Any = bentoml.get_current_service()
    query = request.query
    name, version = query.get("model") or SETTINGS.model, query.get("version")
    classifier = service.repository.get(name, version)
    caching = b"private, max-age=31536000, immutable" if version else b"no-cache"
    headers = [(b"content-type", BYTES.encode()), (b"cache-control", caching)]
    return Response(classifier.onnx, headers)


async def show_document(_: Request) -> Response:
    """Return the OpenAPI document, which the page at `/` shows."""
    return in_json(description.document())


async def show_metrics(_: Request) -> Response:
    """Return the metrics for Prometheus."""
    text = await asyncio.to_thread(metrics.exposition)
    return Response(text, [(b"content-type", metrics.MEDIA_TYPE.encode())])


READ = ("GET", "HEAD")
DESCRIPTIONS = {
    "/models": Route(list_models, READ),
    f"/{ONNX_FILE}": Route(download_model, READ),
    "/docs.json": Route(show_document, READ),
    # Metrics matter most when the service is overloaded.
    "/metrics": Route(show_metrics, READ, wants_room=False),
}


@bentoml.asgi_app(Starlette(routes=pages.routes()), path="/")
@bentoml.service(
    name="qmnist-digits",
    service_class=GatewayService,
    workers=SETTINGS.workers,
    # For `/classify`, which BentoML answers: body and answer together. A second more than our own
    # limit, so that ours reports late bodies. Not longer, because BentoML keeps some memory of each
    # request until its timer has run out.
    traffic={"timeout": SETTINGS.timeout + 1},
    # BentoML's tracing costs more than classifying a digit.
    tracing={"excluded_urls": ".*"},
    metrics={"enabled": False},  # see `serving.telemetry.metrics`
    logging={"access": {"enabled": False}},  # see `serving.telemetry.logs`
)
class DigitClassifier:
    """Reads handwritten digits in pictures."""

    @bentoml.on_deployment
    @staticmethod
    def check_models() -> None:
        """Check everything once before the workers start; otherwise each would fail on its own."""
        try:
            Repository(SETTINGS, state.share())
        except (LoadError, OSError) as error:
            sys.exit(f"qmnist-digits cannot start: {error}")
        if SETTINGS.grpc_port:
            _check_grpc()
        if settings.wants_traces():
            _check_tracing()
        if not KEYS:
            logger.warning(
                "No API key is set (QMNIST_API_KEYS): anyone who reaches this port can use it."
            )

    def __init__(self) -> None:
        self.repository = Repository(SETTINGS, state.shared())
        self.bodies = Bodies(
            SETTINGS.timeout, ROOM * max(SETTINGS.max_batch_bytes, SETTINGS.max_image_bytes)
        )
        self.inline_pixels = min(INLINE_PIXELS, SETTINGS.max_image_pixels)
        self.pictures = Threads(PICTURES_AT_ONCE, SETTINGS.timeout)
        self.batches = Threads(1, SETTINGS.timeout)
        self.control = Threads(1, SETTINGS.timeout)  # loads models, reads statistics

    @bentoml.api(input_spec=PictureInput, output_spec=Prediction)
    async def predict(self, request: Request) -> Response:
        """Find the digit in one picture."""
        return await self.answer(request, answers.predict, inline=True)

    @bentoml.api(input_spec=PictureInput, output_spec=Reading)
    async def read(self, request: Request) -> Response:
        """Read all digits in one picture, line by line, from the left."""
        return await self.answer(request, answers.read, inline=False)

    @bentoml.api(input_spec=PicturesInput, output_spec=Predictions)
    async def predict_batch(self, request: Request) -> Response:
        """Find the digit in each of many pictures."""
        limit = SETTINGS.max_batch_bytes
        async with self.bodies.read(request, limit, partial(_too_large, limit)) as body:
            with Allowance(SETTINGS.max_batch_pixels) as allowance:
                finding = self.batches.run(self._predict_batch, request, body, allowance)
                return await while_connected(request, finding)

    @bentoml.api(
        input_spec=PixelsInput,
        output_spec=ClassificationOutput,
        batchable=True,
        max_batch_size=MAX_BATCHED,
        max_latency_ms=BATCH_PATIENCE,
    )
    def classify(
        self, requests: list[answers.Question | Refusal]
    ) -> list[Classification | Response | Refusal]:
        """Classify a batch of pixel requests; an invalid one gets its own error."""
        asked = [sent for sent in requests if not isinstance(sent, Refusal)]
        found = iter(answers.classify(asked))
        return [sent if isinstance(sent, Refusal) else next(found) for sent in requests]

    async def read_pixels(self, request: Request) -> answers.Question | Refusal:
        """Read a `/classify` request; return its error if it is invalid."""
        limit = JSON_BYTES * SIDE**2 * SETTINGS.max_batch
        try:
            async with self.bodies.read(request, limit, partial(_too_large, limit)) as body:
                parse = partial(parse_pixels, request, body, SETTINGS.max_batch)
                inline = len(body) <= INLINE_BYTES or not is_json(request)
                sent = parse() if inline else await self.batches.run(parse)
                return answers.Question(
                    self.classifier(sent.model),
                    sent.pixels,
                    arrays.are_wanted(request),
                    traces.current.get(),
                )
        except REFUSALS as error:
            return error
        except ClientDisconnect:
            return InvalidRequest("The request's body ended too early.")

    async def answer(self, request: Request, answer: answers.Answer, *, inline: bool) -> Response:
        """Read a request's picture and answer it; `inline` allows the event loop if it is small."""
        limit = SETTINGS.max_image_bytes
        if is_form(request):
            limit += OVERHEAD
        elif is_json(request):  # base64 with line breaks
            limit += limit // 2 + OVERHEAD
        async with self.bodies.read(request, limit, _picture_too_large) as body:
            parse = partial(parse_picture, request, body)
            sent = parse() if len(body) <= INLINE_BYTES else await self.pictures.run(parse)
            if len(sent.picture) > SETTINGS.max_image_bytes:
                raise _picture_too_large()
            classifiers = self.classifiers(sent.models)
            is_small = len(sent.picture) <= INLINE_BYTES
            if inline and is_small:
                small = partial(open_picture, sent.picture, self.inline_pixels)
                with suppress(PictureTooLarge):  # too many pixels for the event loop: use a thread
                    return _respond(sent.models, answer(classifiers, small, sent.explain))
            opening = partial(open_picture, sent.picture, SETTINGS.max_image_pixels)
            finding = self.pictures.run(answer, classifiers, opening, sent.explain)
            found = await (finding if is_small else while_connected(request, finding))
            return _respond(sent.models, found)

    def _predict_batch(self, request: Request, body: bytes, allowance: Allowance) -> Response:
        sent = parse_pictures(request, body, SETTINGS.max_batch)
        classifiers = self.classifiers(sent.models)
        if sent.parts is None:
            pictures = unpack(sent.archive, SETTINGS)
        else:
            limit = SETTINGS.max_image_pixels
            pictures = (
                Picture(part.filename or "", partial(open_picture, part.content, limit))
                for part in sent.parts
            )
        return _respond(sent.models, answers.predict_batch(classifiers, pictures, allowance))

    def classifiers(self, models: str | None) -> list[Classifier]:
        """Look up the models named in a request.

        Raises:
            UnknownModel: There is no such model.
        """
        if models == ALL and self.repository.models:
            return list(self.repository.models.values())
        names = several(models)
        return [self.classifier(models)] if names is None else list(map(self.classifier, names))

    def classifier(self, name: str | None) -> Classifier:
        """Look up a model; `None` is the default.

        Raises:
            UnknownModel: There is no such model.
        """
        try:
            return self.repository.get(name or SETTINGS.model)
        except UnknownModel:
            if name:
                raise
            raise UnknownModel(
                f"The default model, {SETTINGS.model!r}, is not loaded. Name one that is: "
                f"{', '.join(self.repository.models) or 'none'}."
            ) from None
