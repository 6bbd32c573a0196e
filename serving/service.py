"""The BentoML service: HTTP in, calls to `imaging` and `classifier`, HTTP out."""

import functools
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any, ParamSpec

import anyio.to_thread
import bentoml
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving import artifacts, openapi, reader, settings
from serving.artifacts import ArtifactError
from serving.classifier import Classifier, ContractError, ProviderError, choose_provider
from serving.errors import RequestError, UnknownModel
from serving.imaging import View, look, open_picture
from serving.requests import read_picture
from serving.schemas import PictureInput, Prediction, Reading
from serving.settings import Settings, SettingsError

# Pictures up to this many pixels are decoded where they arrive, because a thread would cost more
# than it saves; larger ones in a thread, where they hold up nobody else.
INLINE_PIXELS = 100_000

DECIMALS = 6  # of a probability in an answer

P = ParamSpec("P")

Answer = Callable[[Classifier, Image.Image, bool], dict[str, Any]]


class StartError(Exception):
    """The service cannot start; the message is one sentence that says why."""


def load_classifiers(chosen: Settings) -> dict[str, Classifier]:
    """Load every model, by name.

    Raises:
        StartError: One is missing or damaged, or cannot run where the settings say.
    """
    try:
        loaded = artifacts.load_all(chosen.models)
        if chosen.model not in loaded:
            raise StartError(
                f"QMNIST_MODEL={chosen.model!r} is not in {chosen.models}, "
                f"which has {', '.join(loaded)}"
            )
        provider = choose_provider(chosen.provider, loaded[chosen.model])
        return {name: Classifier(artifact, provider) for name, artifact in loaded.items()}
    except (ArtifactError, ContractError, ProviderError) as error:
        raise StartError(str(error)) from error


def answering_errors(
    endpoint: Callable[P, Awaitable[Response]],
) -> Callable[P, Awaitable[Response]]:
    """Turn what a client did wrong into its answer."""

    @functools.wraps(endpoint)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> Response:
        try:
            return await endpoint(*args, **kwargs)
        except RequestError as error:
            body = {"error": {"code": error.code, "message": str(error)}}
            return JSONResponse(body, error.status)

    return wrapped


def predict(classifier: Classifier, image: Image.Image, explain: bool) -> dict[str, Any]:
    """Answer with the one digit in a picture."""
    view = look(image)
    predictions = classifier.predict(view.pixels[None])
    accepted = predictions.accepted
    return {
        "digit": int(predictions.digits[0]),
        "confidence": round(float(predictions.confidences[0]), DECIMALS),
        "accepted": None if accepted is None else bool(accepted[0]),
        "probabilities": [round(p, DECIMALS) for p in predictions.probabilities[0].tolist()],
        "model": classifier.card.name,
        "version": classifier.card.version,
        **(explanation(view) if explain else {}),
    }


def read(classifier: Classifier, image: Image.Image, explain: bool) -> dict[str, Any]:
    """Answer with all digits in a picture."""
    lines = reader.read(classifier, image)
    return {
        "text": "\n".join("".join(str(digit.digit) for digit in line) for line in lines),
        "digits": [
            {
                "digit": digit.digit,
                "confidence": round(digit.confidence, DECIMALS),
                "accepted": digit.accepted,
                "box": digit.view.box,
                **(explanation(digit.view) if explain else {}),
            }
            for line in lines
            for digit in line
        ],
        "model": classifier.card.name,
        "version": classifier.card.version,
    }


def explanation(view: View) -> dict[str, Any]:
    """Show what was seen."""
    png = BytesIO()
    Image.fromarray(view.pixels).save(png, "PNG")
    return {
        "explanation": {
            "pixels": b64encode(png.getvalue()).decode("ascii"),
            "box": view.box,
            "polarity": view.polarity,
            "removed": view.removed,
        }
    }


async def list_models(_: Request) -> Response:
    """The models that are served, with their cards."""
    service: DigitClassifier = bentoml.get_current_service()
    models = [
        {"provider": classifier.provider, **classifier.card.model_dump()}
        for classifier in service.classifiers.values()
    ]
    return JSONResponse({"default": service.settings.model, "models": models})


async def describe(_: Request) -> Response:
    """The OpenAPI document, which the Swagger page at `/` shows."""
    service: Any = DigitClassifier  # which its decorators have made a bentoml.Service
    return JSONResponse(openapi.complete(service.openapi_spec.asdict(), service.inner.__doc__))


routes = Starlette(routes=[Route("/models", list_models), Route("/docs.json", describe)])


@bentoml.asgi_app(routes, path="/")
@bentoml.service(name="qmnist-digits")
class DigitClassifier:
    """Reads handwritten digits in pictures."""

    @bentoml.on_deployment
    @staticmethod
    def check_models() -> None:
        """Try everything once before the workers start, which would otherwise fail one by one."""
        try:
            load_classifiers(settings.load())
        except (StartError, SettingsError) as error:
            sys.exit(f"qmnist-digits cannot start: {error}")

    def __init__(self) -> None:
        self.settings = settings.load()
        self.classifiers = load_classifiers(self.settings)

    @bentoml.api(input_spec=PictureInput, output_spec=Prediction)
    @answering_errors
    async def predict(self, request: Request) -> Response:
        """Find the digit in one picture, sent as the body or as the file `image` of a form."""
        return await self.answer(request, predict)

    @bentoml.api(input_spec=PictureInput, output_spec=Reading)
    @answering_errors
    async def read(self, request: Request) -> Response:
        """Read all digits in one picture, line by line, each from the left."""
        return await self.answer(request, read)

    async def answer(self, request: Request, answer: Answer) -> Response:
        """Read the picture in a request, and answer it."""
        sent = await read_picture(request, self.settings.max_image_bytes)
        classifier = self.classifier(sent.model)
        image = open_picture(sent.picture, self.settings.max_image_pixels)
        if image.width * image.height <= INLINE_PIXELS:
            return JSONResponse(answer(classifier, image, sent.explain))
        body = await anyio.to_thread.run_sync(answer, classifier, image, sent.explain)
        return JSONResponse(body)

    def classifier(self, name: str | None) -> Classifier:
        """Look a model up; `None` is the default one."""
        try:
            return self.classifiers[name or self.settings.model]
        except KeyError:
            names = ", ".join(self.classifiers)
            raise UnknownModel(f"There is no model {name!r}; there are {names}.") from None
