"""The tensors that models take and return, and checks of a request's tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from artifact import REASONS
from imaging import SIDE
from serving.api.contents import BYTE, Contents, ContentsError
from serving.errors import InvalidRequest
from serving.inference.classifier import Classifier, Predictions

CLASSES = 10

LONGEST_LIST = 1_000  # of inputs, outputs, dimensions, parameters

LONGEST = 100  # characters of client input quoted in a message

Parameter = str | int | float | bool

T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that a model takes or returns; -1 is a dimension of any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def describe(self) -> dict[str, Any]:
        """Return the tensor's description for the protocol's metadata."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


IMAGES = TensorSpec("images", "UINT8", (-1, SIDE, SIDE))
IMAGES_FP32 = TensorSpec("images_fp32", "FP32", (-1, SIDE, SIDE))
PICTURES = TensorSpec("pictures", "BYTES", (-1,))
INPUTS = {spec.name: spec for spec in (IMAGES, IMAGES_FP32, PICTURES)}

DIGIT = TensorSpec("digit", "INT64", (-1,))
PROBABILITIES = TensorSpec("probabilities", "FP32", (-1, CLASSES))
LOGITS = TensorSpec("logits", "FP32", (-1, CLASSES))
CONFIDENCE = TensorSpec("confidence", "FP32", (-1,))
TYPICALITY = TensorSpec("typicality", "FP32", (-1,))
ACCEPTED = TensorSpec("accepted", "BOOL", (-1,))
REASON = TensorSpec("reason", "BYTES", (-1,))
OUTPUTS = (DIGIT, PROBABILITIES, LOGITS, CONFIDENCE, TYPICALITY, ACCEPTED, REASON)
OF_THRESHOLDS = (ACCEPTED, REASON)  # only for models with thresholds

# The meaning of each tensor, for which the protocol's metadata have no other place.
PROPERTIES = {
    "inputs": "Send one of images, images_fp32 and pictures.",
    "images": "Pixels as in QMNIST: 0…255, 255 is ink.",
    "images_fp32": "The same as torchvision's ToTensor returns it: 0…1, 1 is ink.",
    "pictures": "Encoded picture files of any size: PNG, JPEG, HEIC and others. In JSON, base64.",
    "digit": "The likeliest digit.",
    "probabilities": "Of the digits 0 to 9, calibrated.",
    "logits": "The scores before temperature and softmax.",
    "confidence": "The likeliest digit's probability.",
    "typicality": "How much the picture looks like a digit at all: a score, higher is more.",
    "accepted": "Whether confidence and typicality reach the thresholds on the model's card.",
    "reason": "Why it is not accepted: unsure or atypical. Empty if it is.",
}

DTYPES: dict[str, DTypeLike] = {"UINT8": np.uint8, "FP32": np.dtype("<f4")}


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
    """A requested output."""

    name: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True)
class Texts:
    """The elements of a tensor of BYTES, row by row.

    Attributes:
        kinds: The distinct elements.
        places: The index into `kinds` of each element.
    """

    kinds: Sequence[bytes]
    places: NDArray[np.integer[Any]]

    def __len__(self) -> int:
        return len(self.places)

    def each(self, form: Callable[[bytes], T]) -> list[T]:
        """Return the elements, each kind converted once by `form`."""
        found: list[T] = np.array([form(kind) for kind in self.kinds], object)[self.places].tolist()
        return found


@dataclass(frozen=True)
class Output:
    """An output; `data` has the shape, except for BYTES tensors, which are flat."""

    name: str
    datatype: str
    shape: list[int]
    data: NDArray[Any] | Texts

    def raw(self) -> bytes:
        """Return the contents as bytes; see `RawContents`."""
        if isinstance(self.data, Texts):
            return b"".join(self.data.each(_raw))
        return self.data.tobytes()


def _raw(element: bytes) -> bytes:
    return len(element).to_bytes(4, "little") + element


def to_uint8(unit: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Undo torchvision's ToTensor: 0…1 becomes 0…255, uint8 of the same shape.

    Raises:
        ContentsError: A value is outside 0…1.
    """
    if not (unit.min() >= 0 and unit.max() <= 1):  # `not`, so that NaN is refused
        raise ContentsError("has values outside 0…1")
    pixels: NDArray[np.uint8] = np.rint(unit * BYTE).astype(np.uint8)
    return pixels


def quoted(value: object) -> str:
    """Quote what a client sent, up to `LONGEST` characters."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def only_input(inputs: Sequence[Input]) -> Input:
    """Return the only input of a request.

    Raises:
        InvalidRequest: It has none, several, or an unknown one.
    """
    names = [each.name for each in inputs]
    for name in names:
        if name not in INPUTS:
            raise InvalidRequest(
                f"There is no input {quoted(name)}. Send one of {', '.join(INPUTS)}."
            )
        if names.count(name) > 1:
            raise InvalidRequest(f"The input {name!r} is sent more than once.")
    if len(inputs) != 1:
        sent = " and ".join(map(repr, names)) or "none"
        raise InvalidRequest(f"Send one of the inputs {', '.join(INPUTS)}, not {sent}.")
    return inputs[0]


def check_input(sent: Input, max_batch: int) -> TensorSpec:
    """Check an input, except its contents, and return its specification.

    Raises:
        InvalidRequest: It does not fit; the message names it.
    """
    spec = INPUTS[sent.name]
    if sent.datatype != spec.datatype:
        raise InvalidRequest(
            f"The input {sent.name!r} must have the datatype {spec.datatype}, not "
            f"{quoted(sent.datatype)}."
        )
    if "shared_memory_region" in sent.parameters:
        raise InvalidRequest(f"The input {sent.name!r} is in shared memory. Send its data instead.")
    shape = list(sent.shape[: len(spec.shape) + 1])
    if len(shape) != len(spec.shape) or tuple(shape[1:]) != spec.shape[1:] or shape[0] < 1:
        wanted = ", ".join(["N", *map(str, spec.shape[1:])])
        raise InvalidRequest(
            f"The input {sent.name!r} must have the shape [{wanted}] with N of at least 1, not "
            f"{quoted(shape)}."
        )
    if shape[0] > max_batch:
        raise InvalidRequest(
            f"The input {sent.name!r} has {quoted(shape[0])} pictures. Send at most "
            f"{max_batch:,} at a time."
        )
    return spec


def wanted_outputs(
    model: Classifier, requested: Sequence[RequestedOutput]
) -> list[tuple[TensorSpec, int | None]]:
    """Return the requested outputs, each with its number of classes, if requested.

    Raises:
        InvalidRequest: The model has no such output, or not in this form.
    """
    specs = outputs_of(model)
    if not requested:
        return [(spec, None) for spec in specs.values()]
    names = [output.name for output in requested]
    wanted = []
    for output in requested:
        if output.name not in specs:
            raise InvalidRequest(
                f"There is no output {quoted(output.name)}. Choose from {', '.join(specs)}."
            )
        if names.count(output.name) > 1:
            raise InvalidRequest(f"The output {output.name!r} is asked for more than once.")
        if "shared_memory_region" in output.parameters:
            raise InvalidRequest(f"The output {output.name!r} cannot be written to shared memory.")
        wanted.append((specs[output.name], _classes(specs[output.name], output)))
    return wanted


def _classes(spec: TensorSpec, output: RequestedOutput) -> int | None:
    count = output.parameters.get("classification")
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InvalidRequest(
            f"The classification of the output {spec.name!r} must be a number of classes of at "
            f"least 1, not {quoted(count)}."
        )
    if spec.shape[1:] != (CLASSES,):
        raise InvalidRequest(f"The output {spec.name!r} has no classes to choose from.")
    return min(count, CLASSES)


def outputs_of(model: Classifier) -> dict[str, TensorSpec]:
    """Return a model's outputs, by name."""
    has_thresholds = model.card.calibration.acceptance is not None
    return {spec.name: spec for spec in OUTPUTS if spec not in OF_THRESHOLDS or has_thresholds}


_REASONS = [(reason or "").encode() for reason in REASONS]

# How to get each output from the predictions.
_VALUES: dict[TensorSpec, Callable[[Predictions], Any]] = {
    DIGIT: lambda found: found.digits,
    PROBABILITIES: lambda found: found.probabilities,
    LOGITS: lambda found: found.logits,
    CONFIDENCE: lambda found: found.confidences,
    TYPICALITY: lambda found: found.typicality,
    ACCEPTED: lambda found: found.accepted,
    REASON: lambda found: Texts(_REASONS, found.grades),  # type: ignore[arg-type]  # `OF_THRESHOLDS`
}


def output_of(spec: TensorSpec, classes: int | None, predictions: Predictions) -> Output:
    """Return an output of the predictions, or only its `classes` largest values."""
    values = _VALUES[spec](predictions)
    if classes is None:
        return Output(spec.name, spec.datatype, [len(values), *spec.shape[1:]], values)
    # As Triton writes them: "value:index", the largest first.
    best = np.argsort(-values, axis=1, kind="stable")[:, :classes]
    texts = [
        f"{values[row, index]:f}:{index}".encode()
        for row, indices in enumerate(best.tolist())
        for index in indices
    ]
    return Output(spec.name, "BYTES", list(best.shape), Texts(texts, np.arange(len(texts))))
