import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from serving.inference import artifacts
from serving.inference.artifacts import Artifact
from serving.inference.classifier import (
    LARGEST_CALL,
    LEAST_ON_CUDA,
    Classifier,
    ContractError,
    ProviderError,
    choose_provider,
)
from serving.settings import Provider
from serving.telemetry import metrics
from tests.conftest import COMMITTED_MODELS, ROOT
from tests.pictures import drawn


@pytest.fixture(params=["baseline", "deeper", "dropout"])
def artifact(request: pytest.FixtureRequest) -> Artifact:
    return artifacts.load(COMMITTED_MODELS / request.param)


def test_drawn_digits_are_read(artifact: Artifact) -> None:
    images, labels = drawn.digits(500, seed=11)
    predictions = Classifier(artifact, Provider.CPU).predict(images)
    assert (predictions.digits == labels).mean() > 0.95


def test_predictions_hold_together(artifact: Artifact) -> None:
    images, _ = drawn.digits(20, seed=11)
    predictions = Classifier(artifact, Provider.CPU).predict(images)
    assert predictions.logits.shape == predictions.probabilities.shape == (20, 10)
    assert predictions.logits.dtype == predictions.probabilities.dtype == np.float32
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, rtol=1e-5)
    rows = np.arange(20)
    assert np.array_equal(
        predictions.confidences, predictions.probabilities[rows, predictions.digits]
    )


def test_an_answer_is_accepted_at_the_thresholds_and_above(artifact: Artifact) -> None:
    images, _ = drawn.digits(500, seed=11)
    predictions = Classifier(artifact, Provider.CPU).predict(images)
    thresholds = artifact.card.calibration.acceptance
    assert thresholds is not None
    sure = predictions.confidences >= thresholds.confidence
    typical = predictions.typicality >= thresholds.typicality
    assert predictions.accepted is not None
    assert np.array_equal(predictions.accepted, sure & typical)
    assert 0.5 < predictions.accepted.mean() < 1
    expected = [
        None if is_sure and is_typical else "unsure" if is_typical else "atypical"
        for is_sure, is_typical in zip(sure, typical, strict=True)
    ]
    assert predictions.reasons == expected
    assert set(expected) == {None, "unsure", "atypical"}


def test_rows_say_what_the_arrays_say(artifact: Artifact) -> None:
    images, _ = drawn.digits(500, seed=11)
    predictions = Classifier(artifact, Provider.CPU).predict(images)
    rows = list(predictions.rows())
    assert predictions.accepted is not None
    assert [row.digit for row in rows] == predictions.digits.tolist()
    assert [row.confidence for row in rows] == predictions.confidences.tolist()
    assert [row.typicality for row in rows] == predictions.typicality.tolist()
    assert [row.accepted for row in rows] == predictions.accepted.tolist()
    assert [row.reason for row in rows] == predictions.reasons
    assert [row.probabilities for row in rows] == predictions.probabilities.tolist()


def test_without_thresholds_nothing_is_said_of_acceptance(artifact: Artifact) -> None:
    calibration = artifact.card.calibration.model_copy(update={"acceptance": None})
    card = artifact.card.model_copy(update={"calibration": calibration})
    images, _ = drawn.digits(5, seed=11)
    predictions = Classifier(replace(artifact, card=card), Provider.CPU).predict(images)
    assert predictions.accepted is None
    assert predictions.reasons is None
    assert {(row.accepted, row.reason) for row in predictions.rows()} == {(None, None)}


def test_a_picture_gets_the_same_answer_alone_and_in_a_batch(artifact: Artifact) -> None:
    images, _ = drawn.digits(20, seed=11)
    classifier = Classifier(artifact, Provider.CPU)
    together = classifier.predict(images).probabilities
    alone = np.concatenate([classifier.predict(image[None]).probabilities for image in images])
    np.testing.assert_allclose(alone, together, atol=1e-6)


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_more_pictures_than_one_call_takes(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = Classifier(artifact, Provider.CPU)
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8)
    expected = classifier.predict(images)
    monkeypatch.setitem(LARGEST_CALL, Provider.CPU, 3)
    found = classifier.predict(images)
    assert found.probabilities.shape == (7, 10)
    assert np.allclose(found.logits, expected.logits, atol=1e-4)
    assert np.allclose(found.typicality, expected.typicality, atol=1e-4)


@pytest.mark.usefixtures("without_cuda")
def test_cuda_that_cannot_be_had_is_an_error(artifact: Artifact) -> None:
    with pytest.raises(ProviderError, match="CUDAExecutionProvider"):
        Classifier(artifact, Provider.CUDA)


@pytest.mark.usefixtures("without_cuda")
def test_cuda_that_is_built_in_and_does_not_work_is_an_error(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With onnxruntime-gpu but without a GPU, ONNX Runtime would fall back to the CPU."""
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: both)
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(ProviderError, match="CUDAExecutionProvider"),
    ):
        Classifier(artifact, Provider.CUDA)


def pretend_cuda(
    monkeypatch: pytest.MonkeyPatch, run_of: Callable[[str, Callable[..., Any]], Callable[..., Any]]
) -> list[dict[str, Any]]:
    """Pretend that there is CUDA: the CPU under another name.

    Args:
        run_of: Takes a provider and a session's `run`; returns the `run` to use instead.

    Returns:
        A list that gets the arguments of each session created.
    """
    made: list[dict[str, Any]] = []
    real = onnxruntime.InferenceSession

    def session(
        model: bytes,
        options: onnxruntime.SessionOptions,
        providers: list[tuple[str, dict[str, str]]],
        **others: bool,
    ) -> onnxruntime.InferenceSession:
        made.append({"options": options, "providers": providers, **others})
        ((provider, _),) = providers
        found = real(model)
        found.get_providers = lambda: [provider]
        found.run = run_of(provider, found.run)
        return found

    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: both)
    monkeypatch.setattr("onnxruntime.InferenceSession", session)
    return made


@pytest.fixture
def cuda_sessions(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of each session; CUDA seems available, but every call on it fails."""

    def fail(*_: object) -> None:
        raise RuntimeError("no kernel image is available\nat line 1")

    return pretend_cuda(
        monkeypatch, lambda provider, run: fail if provider == "CUDAExecutionProvider" else run
    )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The provider and the number of pictures of each call, with pretended CUDA."""
    made: list[tuple[str, int]] = []

    def run_of(provider: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def record(names: tuple[str, ...], given: dict[str, Any]) -> Any:  # noqa: ANN401
            made.append((provider, len(given["images"])))
            return run(names, given)

        return record

    pretend_cuda(monkeypatch, run_of)
    return made


def test_on_cuda_few_pictures_are_the_cpus(calls: list[tuple[str, int]]) -> None:
    artifact = artifacts.load(COMMITTED_MODELS / "deeper")
    images = np.random.default_rng(0).integers(0, 256, (LEAST_ON_CUDA, 28, 28), np.uint8)
    alone = Classifier(artifact, Provider.CPU)
    classifier = Classifier(artifact, Provider.CUDA)
    assert classifier.provider is Provider.CUDA
    for count, provider in (
        (1, Provider.CPU),
        (LEAST_ON_CUDA - 1, Provider.CPU),
        (LEAST_ON_CUDA, Provider.CUDA),
    ):
        calls.clear()
        found = classifier.predict(images[:count])
        name = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[provider]
        assert calls == [(name, count)]
        assert classifier.network_for(count).provider is provider
        expected = alone.predict(images[:count])
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_on_cuda_many_pictures_are_several_calls(
    calls: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LARGEST_CALL, Provider.CUDA, 100)
    classifier = Classifier(artifacts.load(COMMITTED_MODELS / "deeper"), Provider.CUDA)
    calls.clear()
    found = classifier.predict(np.zeros((201, 28, 28), np.uint8))
    assert calls == [("CUDAExecutionProvider", count) for count in (100, 100, 1)]
    assert found.probabilities.shape == (201, 10)


def test_both_sessions_are_tried_at_the_start(calls: list[tuple[str, int]]) -> None:
    Classifier(artifacts.load(COMMITTED_MODELS / "deeper"), Provider.CUDA)
    assert calls == [("CPUExecutionProvider", 1), ("CUDAExecutionProvider", 1)]


def test_the_calls_are_counted_by_provider(calls: list[tuple[str, int]]) -> None:
    artifact = artifacts.load(COMMITTED_MODELS / "deeper")
    card = artifact.card.model_copy(update={"name": "counted"})
    classifier = metrics.MeteredClassifier(replace(artifact, card=card), Provider.CUDA)
    for count in (1, 2, LEAST_ON_CUDA):
        classifier.predict(np.zeros((count, 28, 28), np.uint8))
    assert len(calls) == 2 + 3  # two trial calls at the start, then these
    for provider, times, pictures in (("cpu", 2, 1 + 2), ("cuda", 1, LEAST_ON_CUDA)):
        labels = ("counted", provider)
        *seconds, _ = metrics.gather()["qmnist_network_seconds"][labels]
        *sizes, together = metrics.gather()["qmnist_batch_size"][labels]
        assert sum(seconds) == sum(sizes) == times
        assert together == pictures


@pytest.mark.cuda
def test_cuda_and_the_cpu_agree(artifact: Artifact) -> None:
    classifier = Classifier(artifact, Provider.CUDA)
    for images in (
        drawn.digits(2 * LEAST_ON_CUDA, seed=11)[0],
        np.random.default_rng(0).integers(0, 256, (2 * LEAST_ON_CUDA, 28, 28), np.uint8),
    ):
        together = classifier.predict(images).probabilities
        few = [classifier.predict(part).probabilities for part in np.split(images, 4)]
        np.testing.assert_allclose(together, np.concatenate(few), rtol=0, atol=1e-5)


def test_the_threshold_is_what_was_measured() -> None:
    figures = json.loads((ROOT / "docs" / "performance" / "gpu.json").read_text())
    assert round(figures["crossing"]) == LEAST_ON_CUDA


def test_cuda_is_all_or_nothing_and_computes_in_full(
    artifact: Artifact, cuda_sessions: list[dict[str, Any]]
) -> None:
    with pytest.raises(ProviderError):
        Classifier(artifact, Provider.CUDA)
    _, made = cuda_sessions  # the first session is the CPU's
    ((provider, given),) = made["providers"]
    assert provider == "CUDAExecutionProvider"
    assert given == {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    assert made["enable_fallback"] is False
    strict = made["options"].get_session_config_entry("session.disable_cpu_ep_fallback")
    assert strict == "1"


@pytest.mark.usefixtures("cuda_sessions")
def test_cuda_that_cannot_classify_a_picture_is_an_error_of_one_line(artifact: Artifact) -> None:
    with pytest.raises(ProviderError, match="does not work here: no kernel image is") as raised:
        Classifier(artifact, Provider.CUDA)
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("cuda_sessions")
def test_auto_takes_the_cpu_where_cuda_cannot_classify_a_picture(artifact: Artifact) -> None:
    assert choose_provider(Provider.AUTO, artifact) is Provider.CPU


def test_the_libraries_of_cuda_are_loaded_from_its_packages(
    artifact: Artifact, cuda_sessions: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[dict[str, Any], int]] = []
    monkeypatch.setattr(
        "onnxruntime.preload_dlls", lambda **given: loaded.append((given, len(cuda_sessions)))
    )
    Classifier(artifact, Provider.CPU)
    assert not loaded
    with pytest.raises(ProviderError):
        Classifier(artifact, Provider.CUDA)
    assert loaded == [({"directory": ""}, 2)]  # before the third session, the one on CUDA


@pytest.mark.usefixtures("without_cuda")
def test_auto_says_which_provider_it_took(
    artifact: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert choose_provider(Provider.AUTO, artifact) is Provider.CPU
    assert "QMNIST_PROVIDER=auto: running on the CPU, because" in caplog.text


def test_another_functions_file_is_refused(artifact: Artifact) -> None:
    model = onnx.load_model_from_string(artifact.onnx)
    model.graph.input[0].name = "pixels"
    for node in model.graph.node:
        node.input[:] = ["pixels" if name == "images" else name for name in node.input]
    with pytest.raises(ContractError, match="pixels"):
        Classifier(replace(artifact, onnx=model.SerializeToString()), Provider.CPU)
