"""The protocol's server, independent of the transport."""

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import serving
from imaging import look, open_picture
from imaging.errors import PictureTooLarge
from serving.api import answers
from serving.api.contents import ContentsError
from serving.errors import REFUSALS, InvalidRequest
from serving.inference.classifier import Classifier
from serving.inference.repository import LoadError, Repository
from serving.protocol import statistics
from serving.protocol.statistics import Phases
from serving.protocol.tensors import (
    DTYPES,
    IMAGES,
    INPUTS,
    PICTURES,
    PROPERTIES,
    Input,
    Output,
    Parameter,
    RequestedOutput,
    TensorSpec,
    check_input,
    only_input,
    output_of,
    outputs_of,
    to_uint8,
    wanted_outputs,
)
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

# Up to this many pictures of pixels are classified in the event loop, because a thread would cost
# more than it saves. More, and encoded pictures, go to a thread.
INLINE = 64

T = TypeVar("T")


# Parameters for the transport, which are not returned.
OF_THE_TRANSPORT = ("binary_data_output",)


@dataclass(frozen=True)
class InferRequest:
    """An inference request; empty `outputs` request all."""

    inputs: Sequence[Input]
    outputs: Sequence[RequestedOutput] = ()
    id: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True)
class InferResponse:
    """An inference response."""

    model_name: str
    model_version: str
    outputs: list[Output]
    id: str
    parameters: Mapping[str, Parameter]


_KINDS = {Provider.CPU: "KIND_CPU", Provider.CUDA: "KIND_GPU"}

# Calls a function with arguments in a thread.
Run = Callable[..., Awaitable[Any]]


class Server:
    """The protocol's server.

    Args:
        repository: The models.
        settings: The limits.
        run: Calls a function in a thread, for work that would block others.
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
            UnknownModel: There is no such model, or not in this version.
        """
        model = self.repository.get(name, version)
        return {
            "name": name,
            "versions": [model.card.version],
            "platform": PLATFORM,
            "inputs": [spec.describe() for spec in INPUTS.values()],
            "outputs": [spec.describe() for spec in outputs_of(model).values()],
            "properties": {"provider": model.provider, **PROPERTIES},
        }

    def model_config(self, name: str, version: str | None) -> dict[str, Any]:
        """Return a model's configuration, in the format of Triton's `model_config.proto`.

        Raises:
            UnknownModel: There is no such model, or not in this version.
        """
        model = self.repository.get(name, version)

        def describe(spec: TensorSpec) -> dict[str, Any]:
            datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
            # Its shapes omit the batch dimension.
            dims = list(spec.shape[1:])
            return {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": dims}

        return {
            "name": name,
            "platform": PLATFORM,
            "backend": "onnxruntime",
            "version_policy": {"latest": {"num_versions": 1}},
            "max_batch_size": self._settings.max_batch,
            "input": [{**describe(spec), "optional": True} for spec in INPUTS.values()],
            "output": [describe(spec) for spec in outputs_of(model).values()],
            "instance_group": [{"name": name, "kind": _KINDS[self.repository.provider]}],
        }

    def statistics(self, name: str | None, version: str | None) -> dict[str, Any]:
        """Return the statistics of one model, or of all; reads files, so call it in a thread.

        Raises:
            UnknownModel: There is no such model, or not in this version.
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
        """Load or reload a model from its folder; slow, so call it in a thread.

        Raises:
            UnknownModel: There is no such folder.
            InvalidRequest: It cannot be loaded.
        """
        try:
            self.repository.load(name)
        except LoadError as error:
            raise InvalidRequest(f"The model {name!r} cannot be loaded: {error}.") from error

    def unload(self, name: str) -> None:
        """Unload a model.

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
            name: The model's name.
            version: The version it must have, if given.
            read: Reads the request.
            write: Converts the answer to what the transport sends.
            large: Whether reading alone would block the event loop.

        Raises:
            UnknownModel: There is no such model, or not in this version.
            InvalidRequest: The request does not fit the model; the message names the tensor.
            TookTooLong: The answer took too long.
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
        self._input = only_input(request.inputs)
        self._spec = check_input(self._input, settings.max_batch)
        self._count = self._input.shape[0]
        self._wanted = wanted_outputs(model, request.outputs)

    @property
    def is_slow(self) -> bool:
        """Whether it would block the event loop."""
        return self._spec is PICTURES or self._count > INLINE

    def answer(self, write: Callable[[InferRequest, InferResponse], T], queued: float) -> T:
        """Compute the answer; `queued` is when it began to wait, by `perf_counter`."""
        begun = time.perf_counter()
        pixels = self._pixels()
        read = time.perf_counter()
        predictions = self._model.predict(pixels)
        computed = time.perf_counter()
        card = self._model.card
        metrics.count_many_predictions(card.name, predictions)
        outputs = [output_of(spec, asked, predictions) for spec, asked in self._wanted]
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

    def _pixels(self) -> NDArray[np.uint8]:
        """Return the network's input: uint8 `[N, 28, 28]`, 255 is ink."""
        try:
            if self._spec is PICTURES:
                return self._decode(self._input.contents.strings(self._count))
            count, dtype = math.prod(self._input.shape), DTYPES[self._spec.datatype]
            sent = self._input.contents.numbers(dtype, count).reshape(self._input.shape)
            return sent if self._spec is IMAGES else to_uint8(sent)
        except ContentsError as error:
            raise InvalidRequest(f"The input {self._spec.name!r} {error}.") from error

    def _decode(self, pictures: list[bytes]) -> NDArray[np.uint8]:
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
                    f"Element {place} of the input {PICTURES.name!r} cannot be classified. {error}"
                ) from error
        return np.stack(pixels)
