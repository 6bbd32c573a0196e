"""What the protocol's requests mean, whatever brings them: there is no transport in here."""

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

import serving
from imaging import SIDE, look, open_picture
from imaging.errors import PictureTooLarge
from serving.api import answers
from serving.api.tensors import BYTE, Contents, ContentsError
from serving.errors import REFUSALS, InvalidRequest
from serving.inference.classifier import Classifier, Predictions
from serving.inference.repository import LoadError, Repository
from serving.protocol import statistics
from serving.protocol.statistics import Phases
from serving.settings import Provider, Settings
from serving.telemetry import metrics
from serving.work import Allowance

NAME = "qmnist-digits"
PLATFORM = "onnxruntime_onnx"
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "statistics",
)

CLASSES = 10

# Pictures of pixels up to so many are classified where they arrive: a thread would cost more than
# it saves. More, and pictures that must be decoded, hold up nobody else in a thread.
INLINE = 64

LONGEST_LIST = 1_000  # of inputs, outputs, dimensions, parameters

LONGEST = 100  # characters of what a client sent, in a sentence about it

Parameter = str | int | float | bool
T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that a model takes or returns; a dimension of any size is -1."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def describe(self) -> dict[str, Any]:
        """Describe it as the protocol's metadata do."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


IMAGES = TensorSpec("images", "UINT8", (-1, SIDE, SIDE))
IMAGES_FP32 = TensorSpec("images_fp32", "FP32", (-1, SIDE, SIDE))
PICTURES = TensorSpec("pictures", "BYTES", (-1,))
INPUTS = {spec.name: spec for spec in (IMAGES, IMAGES_FP32, PICTURES)}

DIGIT = TensorSpec("digit", "INT64", (-1,))
PROBABILITIES = TensorSpec("probabilities", "FP32", (-1, CLASSES))
LOGITS = TensorSpec("logits", "FP32", (-1, CLASSES))
CONFIDENCE = TensorSpec("confidence", "FP32", (-1,))
ACCEPTED = TensorSpec("accepted", "BOOL", (-1,))  # if the model has thresholds
OUTPUTS = (DIGIT, PROBABILITIES, LOGITS, CONFIDENCE, ACCEPTED)

# The protocol's metadata have no place for what a tensor's numbers mean; these stand beside them.
PROPERTIES = {
    "inputs": "Send one of images, images_fp32 and pictures.",
    "images": "0…255, 255 is ink, as QMNIST has them.",
    "images_fp32": "0…1, 1 is ink, as torchvision's ToTensor makes them of images.",
    "pictures": "Encoded picture files of any size: PNG, JPEG and others. In JSON, base64.",
    "digit": "The likeliest digit.",
    "probabilities": "Of the digits 0 to 9, calibrated.",
    "logits": "What the probabilities are made of.",
    "confidence": "The likeliest digit's probability.",
    "accepted": "Whether that is sure enough, of what is enough of a digit.",
}

DTYPES: dict[str, DTypeLike] = {"UINT8": np.uint8, "FP32": np.dtype("<f4")}

# Of the request's parameters, those that say how to answer and not what.
OF_THE_TRANSPORT = ("binary_data_output",)


@dataclass(frozen=True)
class Input:
    """An input as it was sent."""

    name: str
    datatype: str
    shape: Sequence[int]
    contents: Contents
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True)
class RequestedOutput:
    """An output that is asked for."""

    name: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True)
class InferRequest:
    """What is asked; no `outputs` are all."""

    inputs: Sequence[Input]
    outputs: Sequence[RequestedOutput] = ()
    id: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """An output; `data` has the shape, or are the elements of a tensor of BYTES, row by row."""

    name: str
    datatype: str
    shape: list[int]
    data: NDArray[Any] | list[bytes]

    def raw(self) -> bytes:
        """Return the contents as bytes; see `RawContents`."""
        if isinstance(self.data, list):
            return b"".join(len(each).to_bytes(4, "little") + each for each in self.data)
        return self.data.tobytes()


@dataclass(frozen=True)
class InferResponse:
    """What is answered."""

    model_name: str
    model_version: str
    outputs: list[Output]
    id: str
    parameters: Mapping[str, Parameter]


_KINDS = {Provider.CPU: "KIND_CPU", Provider.CUDA: "KIND_GPU"}

# Calls a function in a thread.
Run = Callable[..., Awaitable[Any]]


class Server:
    """The protocol's server.

    Args:
        repository: The models.
        settings: The limits.
        run: Calls a function with arguments in a thread, for what would hold up others.
    """

    def __init__(self, repository: Repository, settings: Settings, run: Run) -> None:
        self.repository = repository
        self._settings = settings
        self._run = run

    def metadata(self) -> dict[str, Any]:
        """Return the server's metadata."""
        return {"name": NAME, "version": serving.__version__, "extensions": list(EXTENSIONS)}

    def model_metadata(self, name: str, version: str | None) -> dict[str, Any]:
        """Return a model's metadata.

        Raises:
            UnknownModel: There is no such model, or not in that version.
        """
        model = self.repository.get(name, version)
        return {
            "name": name,
            "versions": [model.card.version],
            "platform": PLATFORM,
            "inputs": [spec.describe() for spec in INPUTS.values()],
            "outputs": [spec.describe() for spec in _outputs(model).values()],
            "properties": {"provider": model.provider, **PROPERTIES},
        }

    def model_config(self, name: str, version: str | None) -> dict[str, Any]:
        """Return a model's configuration, in the words of Triton's `model_config.proto`.

        Raises:
            UnknownModel: There is no such model, or not in that version.
        """
        model = self.repository.get(name, version)

        def describe(spec: TensorSpec) -> dict[str, Any]:
            datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
            # Its shapes are without the dimension of the batch.
            dims = list(spec.shape[1:])
            return {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": dims}

        return {
            "name": name,
            "platform": PLATFORM,
            "backend": "onnxruntime",
            "version_policy": {"latest": {"num_versions": 1}},
            "max_batch_size": self._settings.max_batch,
            "input": [{**describe(spec), "optional": True} for spec in INPUTS.values()],
            "output": [describe(spec) for spec in _outputs(model).values()],
            "instance_group": [{"name": name, "kind": _KINDS[self.repository.provider]}],
        }

    def statistics(self, name: str | None, version: str | None) -> dict[str, Any]:
        """Return what was counted of one model, or of all; reads files, and so takes a while.

        Raises:
            UnknownModel: There is no such model, or not in that version.
        """
        models = self.repository.models
        asked = [self.repository.get(name, version)] if name else models.values()
        wanted = [(model.card.name, model.card.version) for model in asked]
        return {"model_stats": statistics.collect(wanted)}

    def index(self, only_ready: bool) -> list[dict[str, str]]:
        """List the models of the repository."""
        return [
            {
                "name": entry.name,
                "version": entry.version,
                "state": "READY" if entry.ready else "UNAVAILABLE",
                "reason": entry.reason,
            }
            for entry in self.repository.index()
            if entry.ready or not only_ready
        ]

    def load(self, name: str) -> None:
        """Load a model from its folder, anew if it is served already; takes a while.

        Raises:
            UnknownModel: There is no such folder.
            InvalidRequest: It cannot be served.
        """
        try:
            self.repository.load(name)
        except LoadError as error:
            raise InvalidRequest(f"The model {name!r} cannot be loaded: {error}.") from error

    def unload(self, name: str) -> None:
        """Serve a model no more.

        Raises:
            UnknownModel: It is not served.
        """
        self.repository.unload(name)

    async def infer(
        self,
        name: str,
        version: str | None,
        read: Callable[[], InferRequest],
        write: Callable[[InferRequest, InferResponse], T],
        *,
        large: bool,
    ) -> T:
        """Answer an inference request.

        Args:
            name: The model's.
            version: The model's, if it must be this one.
            read: Reads the request.
            write: Makes of the answer what the transport sends.
            large: Whether reading alone would hold up others.

        Raises:
            UnknownModel: There is no such model, or not in that version.
            InvalidRequest: The request does not fit the model; the message names the tensor.
            TookTooLong: The answer was not found in time.
        """
        model = self.repository.get(name, version)
        started = time.perf_counter()
        try:
            request: InferRequest = await self._run(read) if large else read()
            with Allowance(self._settings.max_batch_pixels) as allowance:
                inference = _Inference(model, request, self._settings, allowance)
                if large or inference.is_slow:
                    found: T = await self._run(inference.answer, write, time.perf_counter())
                else:
                    found = inference.answer(write, time.perf_counter())
        except REFUSALS:
            statistics.count_failure(model.card, time.perf_counter() - started)
            raise
        statistics.count_success(model.card, time.perf_counter() - started)
        return found


class _Inference:
    """One inference request.

    Raises:
        InvalidRequest: It does not fit the model.
    """

    def __init__(
        self, model: Classifier, request: InferRequest, settings: Settings, allowance: Allowance
    ) -> None:
        self._model = model
        self._request = request
        self._settings = settings
        self._allowance = allowance
        self._input = _only_input(request.inputs)
        self._spec = _check(self._input, settings.max_batch)
        self._count = self._input.shape[0]
        self._wanted = _wanted(model, request.outputs)

    @property
    def is_slow(self) -> bool:
        """Whether it would hold up others."""
        return self._spec is PICTURES or self._count > INLINE

    def answer(self, write: Callable[[InferRequest, InferResponse], T], queued: float) -> T:
        """Find the answer; `queued` is when it began to wait for that."""
        begun = time.perf_counter()
        images = self._images()
        read = time.perf_counter()
        predictions = self._model.predict(images)
        computed = time.perf_counter()
        card = self._model.card
        metrics.count_many_predictions(card.name, predictions.digits, predictions.accepted)
        outputs = [_output(spec, asked, predictions) for spec, asked in self._wanted]
        parameters = {
            name: value
            for name, value in self._request.parameters.items()
            if name not in OF_THE_TRANSPORT
        }
        response = InferResponse(card.name, card.version, outputs, self._request.id, parameters)
        written = write(self._request, response)
        ended = time.perf_counter()
        phases = Phases(begun - queued, read - begun, computed - read, ended - computed)
        statistics.count_inference(card, self._count, phases)
        return written

    def _images(self) -> NDArray[np.uint8]:
        """Return the input as the network takes it: uint8 `[N, 28, 28]`."""
        try:
            if self._spec is PICTURES:
                return self._pixels(self._input.contents.strings(self._count))
            count, dtype = math.prod(self._input.shape), DTYPES[self._spec.datatype]
            images = self._input.contents.numbers(dtype, count).reshape(self._input.shape)
            return images if self._spec is IMAGES else _bytes_of(images)
        except ContentsError as error:
            raise InvalidRequest(f"The input {self._spec.name!r} {error}.") from error

    def _pixels(self, pictures: list[bytes]) -> NDArray[np.uint8]:
        pixels = []
        for place, picture in enumerate(pictures):
            try:
                if len(picture) > self._settings.max_image_bytes:
                    raise PictureTooLarge(
                        f"It has more than {self._settings.max_image_bytes:,} bytes."
                    )
                opening = partial(open_picture, picture, self._settings.max_image_pixels)
                view = answers.decode(partial(self._allowance.open, opening), look)
                pixels.append(view.pixels)
            except REFUSALS as error:
                raise InvalidRequest(
                    f"The element {place} of the input {PICTURES.name!r} cannot be answered. "
                    f"{error}"
                ) from error
        return np.stack(pixels)


def _bytes_of(images: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Undo torchvision's ToTensor: 0…1 becomes 0…255."""
    if not (images.min() >= 0 and images.max() <= 1):  # nor is what is not a number
        raise ContentsError("has values that are not within 0…1")
    pixels: NDArray[np.uint8] = np.rint(images * BYTE).astype(np.uint8)
    return pixels


def say(value: object) -> str:
    """Quote what a client sent, but not at any length."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _only_input(inputs: Sequence[Input]) -> Input:
    names = [each.name for each in inputs]
    for name in names:
        if name not in INPUTS:
            raise InvalidRequest(f"There is no input {say(name)}; there are {', '.join(INPUTS)}.")
        if names.count(name) > 1:
            raise InvalidRequest(f"The input {name!r} is there more than once.")
    if len(inputs) != 1:
        sent = ", ".join(map(repr, names)) or "none"
        raise InvalidRequest(f"Send one of the inputs {', '.join(INPUTS)}; these are {sent}.")
    return inputs[0]


def _check(sent: Input, max_batch: int) -> TensorSpec:
    spec = INPUTS[sent.name]
    if sent.datatype != spec.datatype:
        raise InvalidRequest(
            f"The input {sent.name!r} must have the datatype {spec.datatype}, not "
            f"{say(sent.datatype)}."
        )
    if "shared_memory_region" in sent.parameters:
        raise InvalidRequest(f"The input {sent.name!r} is in shared memory, which is not read.")
    shape = list(sent.shape[: len(spec.shape) + 1])
    if len(shape) != len(spec.shape) or tuple(shape[1:]) != spec.shape[1:] or shape[0] < 1:
        wanted = ", ".join(["N", *map(str, spec.shape[1:])])
        raise InvalidRequest(
            f"The input {sent.name!r} must have the shape [{wanted}] with N of at least 1, not "
            f"{say(shape)}."
        )
    if shape[0] > max_batch:
        raise InvalidRequest(
            f"The input {sent.name!r} has {say(shape[0])} pictures; at most {max_batch:,} are "
            "taken at once."
        )
    return spec


def _wanted(
    model: Classifier, requested: Sequence[RequestedOutput]
) -> list[tuple[TensorSpec, int | None]]:
    """Return the outputs that are asked for, and of how many classes, if that is asked."""
    specs = _outputs(model)
    if not requested:
        return [(spec, None) for spec in specs.values()]
    names = [output.name for output in requested]
    wanted = []
    for output in requested:
        if output.name not in specs:
            raise InvalidRequest(
                f"There is no output {say(output.name)}; there are {', '.join(specs)}."
            )
        if names.count(output.name) > 1:
            raise InvalidRequest(f"The output {output.name!r} is asked for more than once.")
        if "shared_memory_region" in output.parameters:
            raise InvalidRequest(
                f"The output {output.name!r} is to go to shared memory, which is not written."
            )
        wanted.append((specs[output.name], _classes(specs[output.name], output)))
    return wanted


def _classes(spec: TensorSpec, output: RequestedOutput) -> int | None:
    count = output.parameters.get("classification")
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InvalidRequest(
            f"The classification of the output {spec.name!r} must be a number of classes of at "
            f"least 1, not {say(count)}."
        )
    if spec.shape[1:] != (CLASSES,):
        raise InvalidRequest(f"The output {spec.name!r} has no classes to choose from.")
    return min(count, CLASSES)


def _outputs(model: Classifier) -> dict[str, TensorSpec]:
    has_thresholds = model.card.calibration.acceptance is not None
    return {spec.name: spec for spec in OUTPUTS if spec is not ACCEPTED or has_thresholds}


# What each output is of the predictions.
_VALUES: dict[TensorSpec, Callable[[Predictions], Any]] = {
    DIGIT: lambda found: found.digits,
    PROBABILITIES: lambda found: found.probabilities,
    LOGITS: lambda found: found.logits,
    CONFIDENCE: lambda found: found.confidences,
    ACCEPTED: lambda found: found.accepted,
}


def _output(spec: TensorSpec, classes: int | None, predictions: Predictions) -> Output:
    values = _VALUES[spec](predictions)
    if classes is None:
        return Output(spec.name, spec.datatype, list(values.shape), values)
    # As Triton writes them: "value:index", the largest first.
    best = np.argsort(-values, axis=1, kind="stable")[:, :classes]
    texts = [
        f"{values[row, index]:f}:{index}".encode()
        for row, indices in enumerate(best.tolist())
        for index in indices
    ]
    return Output(spec.name, "BYTES", list(best.shape), texts)
