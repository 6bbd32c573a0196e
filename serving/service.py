"""The BentoML service: requests in, pictures to `answers`, answers out."""

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
from _bentoml_sdk import Service  # what `service_class` must be a class of
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

logger = logging.getLogger("bentoml.digits")  # BentoML shows what is logged below "bentoml"

# Pictures of at most so many pixels, in so many bytes, are decoded where they arrive, because a
# thread would cost more than it saves. Others hold up nobody else in one: of 10 MB, already finding
# out how large a picture is can take seconds.
INLINE_PIXELS, INLINE_BYTES = 100_000, 50_000

# Large pictures that a worker has in hand at once, which may take half a gigabyte each. Of batches
# of small ones it is one: two threads of Python in turn are slower than one after the other, by a
# third when measured.
PICTURES_AT_ONCE = 2

ROOM = 8  # of the largest bodies: what a worker holds of all bodies together

# Bytes of a pixel in JSON: at most five in a list on one line ("255, "), and some for line breaks
# and indentation.
JSON_BYTES = 20

# Requests that `/classify` answers with one call of a network, and the milliseconds that each may
# wait for others. BentoML refuses what it thinks cannot be answered in that time, so this is a
# bound for the unluckiest and not a goal.
MAX_BATCHED = 64
BATCH_PATIENCE = 10_000

# No setting, no service: BentoML wants to know some of them as soon as it sees the class.
try:
    SETTINGS = settings.load()
    KEYS = SETTINGS.all_api_keys()
except SettingsError as error:
    sys.exit(f"qmnist-digits cannot start: {error}")


class GatewayService(Service[Any]):
    """A BentoML service with `Gateway` before it."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Return the application that a worker's server runs."""
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
    """Watch the models, and answer over gRPC, for as long as the service runs."""
    async with AsyncExitStack() as stack:
        _say_where_the_page_is()
        if settings.wants_traces():
            stack.enter_context(traces.exporting())
        watching = (server.repository.watch(), metrics.watch_process(), metrics.shared.write_on())
        for each in watching:
            stack.callback(asyncio.create_task(each).cancel)
        if SETTINGS.grpc_port:
            from serving.protocol import grpc  # noqa: PLC0415  an extra

            await stack.enter_async_context(grpc.serve(server, admission, bodies, SETTINGS))
        yield


def _say_where_the_page_is() -> None:
    # BentoML tells each worker where services listen, for those that depend on another.
    addresses = orjson.loads(os.environ.get("BENTOML_RUNNER_MAP", "{}"))
    name = bentoml.server_context.service_name
    if bentoml.server_context.worker_index == 1 and name in addresses:
        logger.info("Draw a digit: %s%s/", addresses[name], pages.UI)


def _check_grpc() -> None:
    try:
        from serving.protocol import grpc  # noqa: PLC0415  an extra
    except ImportError as error:
        sys.exit(
            f"qmnist-digits cannot start: QMNIST_GRPC_PORT={SETTINGS.grpc_port} wants "
            f"qmnist-digits[grpc] installed: {error}"
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
    return BodyTooLarge(f"The request is too large; at most {limit:,} bytes are read.")


def _picture_too_large() -> PictureTooLarge:
    return PictureTooLarge(
        f"The picture is too large; at most {SETTINGS.max_image_bytes:,} bytes are read."
    )


def _say(models: str | None, found: Sequence[object]) -> Response:
    """Answer with what a model found; or, where several were asked, with a list."""
    return in_json(found[0] if several(models) is None else {"answers": found})


async def list_models(_: Request) -> Response:
    """The models that are served, with their cards."""
    service: Any = bentoml.get_current_service()
    models = [
        {"provider": classifier.provider, **classifier.card.model_dump()}
        for classifier in service.repository.models.values()
    ]
    return in_json(ModelList(default=SETTINGS.model, models=models))


async def download_model(request: Request) -> Response:
    """A model's ONNX file, which stays as it is in the version that is named."""
    service: Any = bentoml.get_current_service()
    query = request.query
    name, version = query.get("model") or SETTINGS.model, query.get("version")
    classifier = service.repository.get(name, version)
    caching = b"private, max-age=31536000, immutable" if version else b"no-cache"
    headers = [(b"content-type", BYTES.encode()), (b"cache-control", caching)]
    return Response(classifier.onnx, headers)


async def show_document(_: Request) -> Response:
    """The OpenAPI document, which the page at `/` shows."""
    return in_json(description.document())


async def show_metrics(_: Request) -> Response:
    """All counts, for Prometheus."""
    text = await asyncio.to_thread(metrics.exposition)
    return Response(text, [(b"content-type", metrics.MEDIA_TYPE.encode())])


READ = ("GET", "HEAD")
DESCRIPTIONS = {
    "/models": Route(list_models, READ),
    f"/{ONNX_FILE}": Route(download_model, READ),
    "/docs.json": Route(show_document, READ),
    # It is looked at most when there is too much to do.
    "/metrics": Route(show_metrics, READ, wants_room=False),
}


@bentoml.asgi_app(Starlette(routes=pages.routes()), path="/")
@bentoml.service(
    name="qmnist-digits",
    service_class=GatewayService,
    workers=SETTINGS.workers,
    # Of what BentoML answers, `/classify`, body and answer together; a second more than our own
    # limit, so that a body that does not arrive is said to be late. BentoML holds something of each
    # request until its timer has run out, so it is no longer than it must be.
    traffic={"timeout": SETTINGS.timeout + 1},
    # Its tracing costs more than the digits do.
    tracing={"excluded_urls": ".*"},
    metrics={"enabled": False},  # `serving.telemetry.metrics` has them
    logging={"access": {"enabled": False}},  # `serving.telemetry.logs`
)
class DigitClassifier:
    """Reads handwritten digits in pictures."""

    @bentoml.on_deployment
    @staticmethod
    def check_models() -> None:
        """Try everything once before the workers start, which would otherwise fail one by one."""
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
                "No API key is set (QMNIST_API_KEYS): whoever reaches this port is answered."
            )

    def __init__(self) -> None:
        self.repository = Repository(SETTINGS, state.shared())
        self.bodies = Bodies(
            SETTINGS.timeout, ROOM * max(SETTINGS.max_batch_bytes, SETTINGS.max_image_bytes)
        )
        self.inline_pixels = min(INLINE_PIXELS, SETTINGS.max_image_pixels)
        self.pictures = Threads(PICTURES_AT_ONCE, SETTINGS.timeout)
        self.batches = Threads(1, SETTINGS.timeout)
        self.control = Threads(1, SETTINGS.timeout)  # loading models and reading statistics

    @bentoml.api(input_spec=PictureInput, output_spec=Prediction)
    async def predict(self, request: Request) -> Response:
        """Find the digit in one picture, sent as the body or as the file `image` of a form."""
        return await self.answer(request, answers.predict, inline=True)

    @bentoml.api(input_spec=PictureInput, output_spec=Reading)
    async def read(self, request: Request) -> Response:
        """Read all digits in one picture, line by line, each from the left."""
        return await self.answer(request, answers.read, inline=False)

    @bentoml.api(input_spec=PicturesInput, output_spec=Predictions)
    async def predict_batch(self, request: Request) -> Response:
        """Find the digit in each of many pictures: files of a form, an archive, or pages."""
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
        """Classify pixels. A request that is wrong has its error in its place, among the others."""
        asked = [sent for sent in requests if not isinstance(sent, Refusal)]
        found = iter(answers.classify(asked))
        return [sent if isinstance(sent, Refusal) else next(found) for sent in requests]

    async def read_pixels(self, request: Request) -> answers.Question | Refusal:
        """Read what `/classify` is asked, or what is wrong with it."""
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
        """Read the picture in a request, and answer it; `inline` is without a thread, if small."""
        limit = SETTINGS.max_image_bytes
        if is_form(request):
            limit += OVERHEAD
        elif is_json(request):  # in base64, with line breaks
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
                with suppress(PictureTooLarge):  # for here; a thread takes it
                    return _say(sent.models, answer(classifiers, small, sent.explain))
            opening = partial(open_picture, sent.picture, SETTINGS.max_image_pixels)
            finding = self.pictures.run(answer, classifiers, opening, sent.explain)
            found = await (finding if is_small else while_connected(request, finding))
            return _say(sent.models, found)

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
        return _say(sent.models, answers.predict_batch(classifiers, pictures, allowance))

    def classifiers(self, models: str | None) -> list[Classifier]:
        """Look up the models that are to answer.

        Raises:
            UnknownModel: One of them is not served.
        """
        if models == ALL and self.repository.models:
            return list(self.repository.models.values())
        names = several(models)
        return [self.classifier(models)] if names is None else list(map(self.classifier, names))

    def classifier(self, name: str | None) -> Classifier:
        """Look a model up; `None` is the default one.

        Raises:
            UnknownModel: It is not served.
        """
        try:
            return self.repository.get(name or SETTINGS.model)
        except UnknownModel:
            if name:
                raise
            raise UnknownModel(
                f"The default model, {SETTINGS.model!r}, is not loaded; name another one "
                f"({', '.join(self.repository.models) or 'none is'})."
            ) from None
