"""Classifies pixels with ONNX Runtime: one session per model, on CUDA two."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from artifact import INPUT, OUTPUTS, REASONS, Acceptance, Reason
from serving.inference.artifacts import Artifact
from serving.settings import Provider

logger = logging.getLogger("bentoml.digits")  # BentoML shows loggers below "bentoml"

INPUT_TYPE = "tensor(uint8)"

PICTURE = (28, 28)  # pixels, the only input size

# The most pictures per call of a network. On the CPU, the activations of more do not fit the cache,
# and a thousand take a fifth longer per picture. They need about 20 kB of memory per picture.
LARGEST_CALL = {Provider.CPU: 256, Provider.CUDA: 16_384}

# The fewest pictures for which CUDA is as fast as one core: 0.32 ms on an NVIDIA H200 (`deeper`;
# benchmarks/gpu.py, docs/performance/gpu.json). For fewer, CUDA takes hardly less.
LEAST_ON_CUDA = 48

# ONNX Runtime's names.
EXECUTION_PROVIDERS = {
    Provider.CPU: "CPUExecutionProvider",
    Provider.CUDA: "CUDAExecutionProvider",
}
OPTIONS: dict[Provider, dict[str, str]] = {
    Provider.CPU: {},
    # TF32 multiplies with only ten bits of mantissa: probabilities would differ from the CPU's by
    # up to 0.002. By default, CUDA would try all algorithms for the one convolution, in the network
    # for typicality, whenever the batch size is new.
    Provider.CUDA: {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
}


_REASONS = np.array(REASONS, object)


class ProviderError(Exception):
    """The requested provider is not available on this machine."""


class ContractError(Exception):
    """The ONNX file does not have the inputs and outputs of an artifact."""


class Prediction(NamedTuple):
    """A model's prediction for one picture.

    Attributes:
        typicality: How much it looks like a digit at all; higher is more.
        accepted: Whether confidence and typicality reach the thresholds on the model's card; `None`
            if it has none.
        reason: Why it is not accepted; `None` otherwise.
        probabilities: The probabilities of the digits 0 to 9.
    """

    digit: int
    confidence: float
    typicality: float
    accepted: bool | None
    reason: Reason | None
    probabilities: list[float]


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for N pictures.

    Attributes:
        logits: float32 `[N, 10]`.
        probabilities: float32 `[N, 10]`; each row sums to 1.
        typicality: float32 `[N]`, how much each looks like a digit at all; higher is more.
        acceptance: The model's thresholds, if it has any.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    typicality: NDArray[np.float32]
    acceptance: Acceptance | None

    @cached_property
    def digits(self) -> NDArray[np.int64]:
        """The most likely digit of each picture, int64 `[N]`."""
        digits: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return digits

    @cached_property
    def confidences(self) -> NDArray[np.float32]:
        """The probability of the most likely digit, float32 `[N]`."""
        # Taking the maximum of each row takes ten times as long.
        confidences: NDArray[np.float32] = self.probabilities[
            np.arange(len(self.digits)), self.digits
        ]
        return confidences

    @cached_property
    def accepted(self) -> NDArray[np.bool_] | None:
        """Whether each prediction reaches the thresholds on the model's card, bool `[N]`.

        `None` if the model has no thresholds.
        """
        if self.acceptance is None:
            return None
        return self.acceptance.accepts(self.confidences, self.typicality)

    @cached_property
    def grades(self) -> NDArray[np.uint8] | None:
        """Why each prediction is not accepted, as an index into `REASONS`, uint8 `[N]`.

        `None` if the model has no thresholds.
        """
        if self.acceptance is None:
            return None
        return self.acceptance.grades(self.confidences, self.typicality)

    @cached_property
    def reasons(self) -> list[Reason | None] | None:
        """Why each of N predictions is not accepted; `None` for those that are.

        `None` if the model has no thresholds.
        """
        if self.grades is None:
            return None
        reasons: list[Reason | None] = _REASONS[self.grades].tolist()
        return reasons

    def rows(self) -> Iterator[Prediction]:
        """Yield each picture's prediction; for one picture, much faster than the arrays."""
        acceptance = self.acceptance
        for row, typicality in zip(
            self.probabilities.tolist(), self.typicality.tolist(), strict=True
        ):
            confidence = max(row)
            accepted = reason = None
            if acceptance is not None:
                reason = acceptance.reason(confidence, typicality)
                accepted = reason is None
            yield Prediction(row.index(confidence), confidence, typicality, accepted, reason, row)


class Network:
    """A model's network in one ONNX Runtime session, on one provider.

    Raises:
        ProviderError: The provider is not available.
        ContractError: The file does not have an artifact's inputs and outputs.
    """

    def __init__(self, artifact: Artifact, provider: Provider) -> None:
        self.provider = provider
        self._session = _session(artifact, provider)

    def run(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Return the `OUTPUTS` for pictures: uint8 `[N, 28, 28]`, 255 is ink, N of at least 1."""
        largest = LARGEST_CALL[self.provider]
        if len(pixels) <= largest:
            outputs: list[NDArray[np.float32]] = self._session.run(OUTPUTS, {INPUT: pixels})
            return outputs
        calls = [
            self._session.run(OUTPUTS, {INPUT: pixels[start : start + largest]})
            for start in range(0, len(pixels), largest)
        ]
        return [np.concatenate(parts) for parts in zip(*calls, strict=True)]


class Classifier:
    """A model on a provider; with CUDA, small batches still run on the CPU, which is faster.

    Raises:
        ProviderError: The provider is not available.
        ContractError: The file does not have an artifact's inputs and outputs.
    """

    def __init__(self, artifact: Artifact, provider: Provider) -> None:
        self.card = artifact.card
        self.onnx = artifact.onnx
        self.provider = provider
        self._small = self._large = Network(artifact, Provider.CPU)
        if provider is not Provider.CPU:
            self._large = Network(artifact, provider)

    def network_for(self, count: int) -> Network:
        """Return the network for this number of pictures."""
        return self._large if count >= LEAST_ON_CUDA else self._small

    def predict(self, pixels: NDArray[np.uint8]) -> Predictions:
        """Classify pictures: uint8 `[N, 28, 28]`, 255 is ink, N of at least 1."""
        logits, probabilities, typicality = self.network_for(len(pixels)).run(pixels)
        return Predictions(logits, probabilities, typicality, self.card.calibration.acceptance)


def choose_provider(wanted: Provider, artifact: Artifact) -> Provider:
    """Resolve `auto` by trying CUDA, and log the choice."""
    if wanted is not Provider.AUTO:
        return wanted
    try:
        Network(artifact, Provider.CUDA)
    except ProviderError as error:
        logger.info("QMNIST_PROVIDER=auto: running on the CPU, because %s", error)
        return Provider.CPU
    logger.info("QMNIST_PROVIDER=auto: running on CUDA")
    return Provider.CUDA


def _session(artifact: Artifact, provider: Provider) -> onnxruntime.InferenceSession:
    wanted = EXECUTION_PROVIDERS[provider]
    if wanted not in onnxruntime.get_available_providers():
        raise ProviderError(f"this build of ONNX Runtime has no {wanted}")
    options = onnxruntime.SessionOptions()
    # These networks take microseconds; more threads would only wait for each other.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    if provider is not Provider.CPU:
        # Otherwise ONNX Runtime could silently run on the CPU.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if provider is Provider.CUDA:
        # CUDA and cuDNN are Python packages, which the system's loader does not search.
        onnxruntime.preload_dlls(directory="")
    try:
        session = onnxruntime.InferenceSession(
            artifact.onnx,
            options,
            providers=[(wanted, OPTIONS[provider])],
            enable_fallback=False,  # no fallback to the CPU if CUDA fails later, either
        )
    except Exception as error:
        what = f"ONNX Runtime cannot load the ONNX file of {artifact.name!r}"
        raise _fault(provider, what, error) from error
    if session.get_providers()[0] != wanted:
        raise ProviderError(f"ONNX Runtime chose {session.get_providers()[0]} instead of {wanted}")
    _check_contract(artifact.name, session)
    # The first call is slow, so make it before any request. Without cuDNN, or on a GPU that is too
    # old, it is also the first to fail.
    try:
        session.run(OUTPUTS, {INPUT: np.zeros((1, *PICTURE), np.uint8)})
    except Exception as error:
        what = f"the ONNX file of {artifact.name!r} cannot classify a picture"
        raise _fault(provider, what, error) from error
    return session


def _fault(provider: Provider, what: str, error: Exception) -> Exception:
    """Convert an exception of ONNX Runtime; its exceptions share no base class."""
    if provider is Provider.CPU:  # always available, so the file is at fault
        return ContractError(f"{what}: {error}")
    # Only ONNX Runtime's log names the missing library or driver.
    line = str(error).partition("\n")[0]
    return ProviderError(
        f"{EXECUTION_PROVIDERS[provider]} does not work here: {line} "
        "(ONNX Runtime's log may say more)"
    )


def _check_contract(name: str, session: onnxruntime.InferenceSession) -> None:
    inputs = [(node.name, node.type) for node in session.get_inputs()]
    outputs = {node.name for node in session.get_outputs()}
    if inputs != [(INPUT, INPUT_TYPE)] or not outputs.issuperset(OUTPUTS):
        raise ContractError(
            f"the ONNX file of {name!r} takes {inputs} and returns {sorted(outputs)}; "
            f"it must take {INPUT} as uint8 and return {', '.join(OUTPUTS)}"
        )
