"""Third-party clients of the protocol over HTTP: Triton's two, and the protocol's own."""

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from numpy.typing import NDArray
from open_inference.openapi import BadRequestError, InferenceRequest, NotFoundError, RequestInput
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from tritonclient.utils import (
    InferenceServerException,
    np_to_triton_dtype,
)

import serving
from serving.inference import artifacts
from serving.inference.classifier import Classifier
from serving.settings import Provider
from tests.conftest import COMMITTED_MODELS, KEYS, Server
from tests.pictures import drawn

Tensors = dict[str, NDArray[Any]]

COUNT = 64
MODELS = ("baseline", "deeper", "dropout", "notebook")
OUTPUTS = ("digit", "probabilities", "logits", "confidence", "typicality", "accepted", "reason")
IMAGES, LABELS = drawn.digits(COUNT, seed=21)
UNIT = (IMAGES / 255).astype(np.float32)
FILES = [drawn.encode(image) for image in IMAGES]
PICTURES = np.array(FILES, np.object_)
BASE64 = np.array([b64encode(file) for file in FILES], np.object_)  # for pictures in JSON

# Every way to send the same digits: the input's name, its contents, whether they are binary.
WAYS = [
    pytest.param("images", IMAGES, True, id="images, binary"),
    pytest.param("images", IMAGES, False, id="images, JSON"),
    pytest.param("images_fp32", UNIT, True, id="images_fp32, binary"),
    pytest.param("images_fp32", UNIT, False, id="images_fp32, JSON"),
    pytest.param("pictures", PICTURES, True, id="pictures, binary"),
    pytest.param("pictures", BASE64, False, id="pictures, JSON"),
]


@pytest.fixture(scope="module")
def classifiers() -> dict[str, Classifier]:
    return {
        name: Classifier(artifacts.load(COMMITTED_MODELS / name), Provider.CPU) for name in MODELS
    }


@pytest.fixture(scope="module")
def version(classifiers: dict[str, Classifier]) -> str:
    """The version of the model "deeper"."""
    return classifiers["deeper"].card.version


@pytest.fixture(scope="module")
def expected(classifiers: dict[str, Classifier]) -> dict[str, Tensors]:
    """Each model's outputs for the digits, computed without a server."""
    return {name: all_outputs(classifier) for name, classifier in classifiers.items()}


def all_outputs(classifier: Classifier) -> Tensors:
    predictions = classifier.predict(IMAGES)
    outputs: Tensors = {
        "digit": predictions.digits,
        "probabilities": predictions.probabilities,
        "logits": predictions.logits,
        "confidence": predictions.confidences,
        "typicality": predictions.typicality,
    }
    if classifier.card.calibration.acceptance is not None:
        assert predictions.accepted is not None
        assert predictions.reasons is not None
        reasons = [(reason or "").encode() for reason in predictions.reasons]
        outputs |= {"accepted": predictions.accepted, "reason": np.array(reasons, np.object_)}
    return outputs


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[Any]:
    with triton.InferenceServerClient(address(server), concurrency=4) as client:
        yield client


@pytest.fixture(scope="module")
def oip(server: str) -> Iterator[OpenInferenceClient]:
    with httpx.Client(timeout=60) as http:
        yield OpenInferenceClient(base_url=server, httpx_client=http)


def address(url: str) -> str:
    """Return a URL without the scheme, as Triton's clients require."""
    return url.removeprefix("http://")


def tensor(name: str, data: NDArray[Any], *, binary: bool = True) -> Any:  # noqa: ANN401
    """Return an input for Triton's clients."""
    made = triton.InferInput(name, list(data.shape), np_to_triton_dtype(data.dtype))
    return made.set_data_from_numpy(data, binary_data=binary)


def images(count: int = 1) -> list[Any]:
    """Return the inputs of a valid request."""
    return [tensor("images", IMAGES[:count])]


def wanted(*names: str, binary: bool = True, classes: int = 0) -> list[Any]:
    """Return requests for outputs."""
    return [triton.InferRequestedOutput(name, binary, classes) for name in names]


def check(found: Any, expected: Tensors, *, binary: bool = True) -> None:  # noqa: ANN401
    """Check all outputs of an answer. Binary outputs must be equal to the bit."""
    for name in expected:
        values = found.as_numpy(name)
        assert values.dtype == expected[name].dtype, name
        assert values.shape == expected[name].shape, name
        parameters = found.get_output(name).get("parameters", {})
        assert ("binary_data_size" in parameters) == binary
        same = np.array_equal if binary else same_in_json
        assert same(values, expected[name]), name


def same_in_json(values: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Return whether an output in JSON, where bytes are text, has the expected values."""
    if expected.dtype == object:
        return bool(np.array_equal([text.encode() for text in values], expected))
    return np.allclose(values, expected, atol=1e-6)


def refused(call: Callable[..., Any], *arguments: object, **named: object) -> tuple[str, str]:
    """Make a call that is refused; return its status and message."""
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **named)
    return caught.value.status(), caught.value.message()


# tritonclient.http


def test_triton_asks_for_health(client: Any, version: str) -> None:  # noqa: ANN401
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("deeper")
    assert client.is_model_ready("deeper", version)
    assert not client.is_model_ready("deeper", "1")
    assert not client.is_model_ready("unknown")


def test_triton_asks_for_metadata(client: Any, classifiers: dict[str, Classifier]) -> None:  # noqa: ANN401
    metadata = client.get_server_metadata()
    assert metadata["name"] == "qmnist-digits"
    assert metadata["version"] == serving.__version__
    assert {"binary_tensor_data", "classification", "statistics"} <= set(metadata["extensions"])
    for name, classifier in classifiers.items():
        version = classifier.card.version
        metadata = client.get_model_metadata(name)
        assert metadata == client.get_model_metadata(name, version)
        assert (metadata["name"], metadata["versions"]) == (name, [version])
        described = {t["name"]: (t["datatype"], t["shape"]) for t in metadata["inputs"]}
        assert described["images"] == ("UINT8", [-1, 28, 28])
        assert described["pictures"] == ("BYTES", [-1])
        has_thresholds = classifier.card.calibration.acceptance is not None
        assert [t["name"] for t in metadata["outputs"]] == [
            name for name in OUTPUTS if has_thresholds or name not in ("accepted", "reason")
        ]


def test_triton_asks_for_the_configuration(client: Any, version: str) -> None:  # noqa: ANN401
    config = client.get_model_config("deeper")
    assert config == client.get_model_config("deeper", version)
    assert config["name"] == "deeper"
    assert config["max_batch_size"] == 1_024
    dims = {each["name"]: (each["data_type"], each["dims"]) for each in config["input"]}
    assert dims["images"] == ("TYPE_UINT8", [28, 28])
    assert [each["name"] for each in config["output"]] == list(OUTPUTS)


def test_triton_asks_for_the_repository(client: Any, classifiers: dict[str, Classifier]) -> None:  # noqa: ANN401
    assert client.get_model_repository_index() == [
        {"name": name, "version": classifiers[name].card.version, "state": "READY", "reason": ""}
        for name in MODELS
    ]


@pytest.mark.parametrize("binary_out", [True, False], ids=["to binary", "to JSON"])
@pytest.mark.parametrize(("name", "data", "binary_in"), WAYS)
def test_triton_infers_the_same_in_every_way(
    client: Any,  # noqa: ANN401
    expected: dict[str, Tensors],
    name: str,
    data: NDArray[Any],
    *,
    binary_in: bool,
    binary_out: bool,
) -> None:
    """One model is enough here: another test asks several models at once."""
    inputs = [tensor(name, data, binary=binary_in)]
    found = client.infer("deeper", inputs, outputs=wanted(*OUTPUTS, binary=binary_out))
    check(found, expected["deeper"], binary=binary_out)
    assert np.array_equal(found.as_numpy("digit"), LABELS)


def test_triton_gets_all_outputs_when_it_names_none(
    client: Any,  # noqa: ANN401
    expected: dict[str, Tensors],
    version: str,
) -> None:
    for asked in ("", version):
        found = client.infer("deeper", images(COUNT), asked)
        check(found, expected["deeper"])
        response = found.get_response()
        assert (response["model_name"], response["model_version"]) == ("deeper", version)
        assert [output["name"] for output in response["outputs"]] == list(OUTPUTS)


def test_triton_gets_only_what_it_names_in_its_order(client: Any) -> None:  # noqa: ANN401
    found = client.infer("deeper", images(2), outputs=wanted("confidence", "digit"))
    assert [output["name"] for output in found.get_response()["outputs"]] == ["confidence", "digit"]
    assert found.as_numpy("logits") is None


def test_triton_mixes_binary_and_json(client: Any, expected: dict[str, Tensors]) -> None:  # noqa: ANN401
    outputs = wanted("logits") + wanted("digit", binary=False) + wanted("accepted")
    found = client.infer("deeper", images(COUNT), outputs=outputs)
    for name in ("logits", "digit", "accepted"):
        assert np.array_equal(found.as_numpy(name), expected["deeper"][name])
    assert "data" in found.get_output("digit")


def test_triton_gets_its_id_and_parameters_back(client: Any) -> None:  # noqa: ANN401
    parameters = {"text": "é", "whole": 7, "half": 0.5, "yes": True}
    found = client.infer("deeper", images(), request_id="mine 1", parameters=parameters)
    assert found.get_response()["id"] == "mine 1"
    assert found.get_response()["parameters"] == parameters
    assert "id" not in client.infer("deeper", images()).get_response()


@pytest.mark.parametrize("binary", [True, False])
def test_triton_gets_the_likeliest_classes(
    client: Any,  # noqa: ANN401
    expected: dict[str, Tensors],
    *,
    binary: bool,
) -> None:
    outputs = wanted("probabilities", binary=binary, classes=3)
    found = client.infer("deeper", images(COUNT), outputs=outputs).as_numpy("probabilities")
    assert found.shape == (COUNT, 3)
    for row, probabilities in zip(found, expected["deeper"]["probabilities"], strict=True):
        texts = [text.decode() if binary else text for text in row]
        best = np.argsort(-probabilities, kind="stable")[:3]
        assert texts == [f"{probabilities[index]:f}:{index}" for index in best]


def test_triton_infers_several_at_once(client: Any, expected: dict[str, Tensors]) -> None:  # noqa: ANN401
    asked = {
        model: [client.async_infer(model, images(COUNT), request_id=str(n)) for n in range(4)]
        for model in MODELS
    }
    for model, requests in asked.items():
        for n, request in enumerate(requests):
            found = request.get_result()
            check(found, expected[model])
            assert found.get_response()["id"] == str(n)
    request = client.async_infer("unknown", images())
    assert refused(request.get_result)[0] == "404"


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_triton_compresses(
    client: Any,  # noqa: ANN401
    expected: dict[str, Tensors],
    algorithm: str,
    *,
    binary: bool,
) -> None:
    inputs = [tensor("images", IMAGES, binary=binary)]
    check(
        client.infer("deeper", inputs, request_compression_algorithm=algorithm), expected["deeper"]
    )
    check(
        client.infer("deeper", inputs, response_compression_algorithm=algorithm), expected["deeper"]
    )


def test_tritons_bodies_go_over_another_transport(
    server: str, expected: dict[str, Tensors]
) -> None:
    for inputs in (images(COUNT), [tensor("images", IMAGES, binary=False)]):
        body, length = triton.InferenceServerClient.generate_request_body(inputs)
        headers = {"Inference-Header-Content-Length": str(length)} if length else {}
        response = httpx.post(f"{server}/v2/models/deeper/infer", content=body, headers=headers)
        found = triton.InferenceServerClient.parse_response_body(
            response.content, header_length=int(response.headers["Inference-Header-Content-Length"])
        )
        check(found, expected["deeper"])


def counts(statistics: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return per model: pictures, calls, successes, failures, calls with 5 to 8 pictures."""
    return {
        model["name"]: (
            model["inference_count"],
            model["execution_count"],
            model["inference_stats"]["success"]["count"],
            model["inference_stats"]["fail"]["count"],
            sum(
                batch["compute_infer"]["count"]
                for batch in model["batch_stats"]
                if batch["batch_size"] == 8
            ),
        )
        for model in statistics["model_stats"]
    }


def test_tritons_statistics_count_exactly_what_was_sent(
    client: Any,  # noqa: ANN401
    classifiers: dict[str, Classifier],
) -> None:
    before = counts(client.get_inference_statistics())
    started = time.time()
    client.infer("baseline", images(5))
    client.infer("baseline", images(3))
    client.infer("deeper", images(COUNT))
    refused(client.infer, "baseline", images(), outputs=wanted("unknown"))
    refused(client.infer, "unknown", images())
    everything = client.get_inference_statistics()
    grown = {
        name: tuple(np.subtract(now, before[name])) for name, now in counts(everything).items()
    }
    assert grown == {
        "baseline": (8, 2, 2, 1, 1),
        "deeper": (COUNT, 1, 1, 0, 0),
        "dropout": (0, 0, 0, 0, 0),
        "notebook": (0, 0, 0, 0, 0),
    }
    by_name = {model["name"]: model for model in everything["model_stats"]}
    for name in MODELS:
        version = classifiers[name].card.version
        for asked in ("", version):
            assert client.get_inference_statistics(name, asked) == {"model_stats": [by_name[name]]}
    one = by_name["baseline"]
    assert started * 1e3 - 1 <= one["last_inference"] <= time.time() * 1e3 + 1
    spent = one["inference_stats"]
    phases = ("queue", "compute_input", "compute_infer", "compute_output")
    assert 0 < sum(spent[phase]["ns"] for phase in phases) <= spent["success"]["ns"]
    assert refused(client.get_inference_statistics, "unknown")[0] == "404"


def test_triton_is_told_what_was_wrong(client: Any) -> None:  # noqa: ANN401
    """Check a few errors; `tests/serving/protocol/test_rest.py` covers all of them."""
    elsewhere = triton.InferInput("images", [1, 28, 28], "UINT8")
    elsewhere.set_shared_memory("region", 784)
    for inputs, outputs, words in (
        ([tensor("images", UNIT)], [], "'images' must have the datatype UINT8, not 'FP32'."),
        ([tensor("pictures", BASE64)], [], "Element 0 of the input 'pictures'"),
        ([elsewhere], [], "'images' is in shared memory. Send its data instead."),
        (images(), wanted("digits"), "There is no output 'digits'"),
    ):
        status, sentence = refused(client.infer, "deeper", inputs, outputs=outputs)
        assert status == "400"
        assert words in sentence
    assert refused(client.infer, "unknown", images())[0] == "404"


def test_triton_is_told_of_an_unknown_version(client: Any) -> None:  # noqa: ANN401
    for call in (client.get_model_metadata, client.get_model_config):
        for arguments in (("unknown",), ("deeper", "1")):
            status, sentence = refused(call, *arguments)
            assert status == "404"
            assert arguments[-1] in sentence
    assert refused(client.infer, "deeper", images(), "1")[0] == "404"


def test_triton_is_told_that_there_is_no_such_thing_here(client: Any) -> None:  # noqa: ANN401
    for call, arguments in (
        (client.get_trace_settings, ()),
        (client.get_trace_settings, ("deeper",)),
        (client.update_trace_settings, ("deeper", {"trace_rate": "1"})),
        (client.get_log_settings, ()),
        (client.update_log_settings, ({"log_verbose_level": 1},)),
        (client.get_system_shared_memory_status, ()),
        (client.register_system_shared_memory, ("region", "/key", 8)),
        (client.unregister_system_shared_memory, ()),
        (client.get_cuda_shared_memory_status, ()),
        (client.register_cuda_shared_memory, ("region", b"handle", 0, 8)),
        (client.unregister_cuda_shared_memory, ("region",)),
    ):
        status, sentence = refused(call, *arguments)
        assert status == "404", call
        assert sentence.startswith("There is nothing at this address"), call


def test_triton_without_a_key_changes_no_models(client: Any) -> None:  # noqa: ANN401
    for call in (client.load_model, client.unload_model):
        status, sentence = refused(call, "deeper")
        assert status == "403"
        assert "QMNIST_API_KEYS" in sentence
    assert client.is_model_ready("deeper")


def test_triton_loads_and_unloads_models(closed_server: Server) -> None:
    def key() -> dict[str, str]:
        """Return new headers each time, because the client adds to them."""
        return {"X-API-Key": KEYS[0]}

    with triton.InferenceServerClient(address(closed_server.url)) as client:

        def state() -> str:
            index = client.get_model_repository_index(headers=key())
            return str({entry["name"]: entry["state"] for entry in index}["baseline"])

        assert client.is_server_live()
        assert client.is_server_ready()
        for call, arguments in (
            (client.load_model, ("baseline",)),
            (client.unload_model, ("baseline",)),
            (client.get_model_metadata, ("baseline",)),
            (client.infer, ("baseline", images())),
        ):
            assert refused(call, *arguments)[0] == "401"
        assert client.is_model_ready("baseline", headers=key())

        client.unload_model("baseline", headers=key())
        assert not client.is_model_ready("baseline", headers=key())
        assert state() == "UNAVAILABLE"
        status, sentence = refused(client.infer, "baseline", images(), headers=key())
        assert status == "404"
        assert "baseline" in sentence
        assert client.is_model_ready("deeper", headers=key())

        for _ in ("again", "and again"):
            client.load_model("baseline", headers=key())
            assert client.is_model_ready("baseline", headers=key())
            assert state() == "READY"
            found = client.infer("baseline", images(10), headers=key())
            assert np.array_equal(found.as_numpy("digit"), LABELS[:10])

        status, sentence = refused(client.load_model, "unknown", headers=key())
        assert status == "404"
        assert "unknown" in sentence
        status, sentence = refused(client.load_model, "baseline", headers=key(), config="{}")
        assert status == "400"
        assert "config" in sentence


# tritonclient.http.aio


def test_tritons_asynchronous_client(server: str, expected: dict[str, Tensors]) -> None:
    async def ask() -> None:
        async with triton_aio.InferenceServerClient(address(server)) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("deeper")
            assert not await client.is_model_ready("unknown")
            assert (await client.get_server_metadata())["name"] == "qmnist-digits"
            metadata = await client.get_model_metadata("deeper")
            assert (await client.get_model_config("deeper"))["name"] == "deeper"
            assert len(await client.get_model_repository_index()) == len(MODELS)
            before = counts(await client.get_inference_statistics("deeper"))["deeper"]
            several = [client.infer(model, images(COUNT)) for model in MODELS]
            for model, found in zip(MODELS, await asyncio.gather(*several), strict=True):
                check(found, expected[model])
            after = counts(await client.get_inference_statistics("deeper"))["deeper"]
            assert tuple(np.subtract(after, before)) == (COUNT, 1, 1, 0, 0)
            found = await client.infer(
                "deeper",
                [tensor("images", IMAGES, binary=False)],
                metadata["versions"][0],
                outputs=wanted(*OUTPUTS, binary=False),
                request_id="mine",
                parameters={"a": 1},
            )
            check(found, expected["deeper"], binary=False)
            assert found.get_response()["id"] == "mine"
            assert found.get_response()["parameters"] == {"a": 1}
            for name, data in (("images_fp32", UNIT), ("pictures", PICTURES)):
                check(await client.infer("deeper", [tensor(name, data)]), expected["deeper"])
            for algorithm in ("gzip", "deflate"):
                found = await client.infer(
                    "deeper",
                    images(COUNT),
                    request_compression_algorithm=algorithm,
                    response_compression_algorithm=algorithm,
                )
                check(found, expected["deeper"])

    asyncio.run(ask())


def test_tritons_asynchronous_client_is_told_what_was_wrong(server: str) -> None:
    async def ask() -> None:
        async with triton_aio.InferenceServerClient(address(server)) as client:
            for status, call, word in (
                ("404", client.infer("unknown", images()), "unknown"),
                ("400", client.infer("deeper", [tensor("images", UNIT)]), "images"),
                ("400", client.infer("deeper", images(), outputs=wanted("digits")), "digits"),
                ("403", client.unload_model("deeper"), "key"),
                ("404", client.get_trace_settings(), "address"),
            ):
                with pytest.raises(InferenceServerException) as caught:
                    await call
                assert caught.value.status() == status
                assert word in caught.value.message()

    asyncio.run(ask())


# open_inference.openapi


def asked(name: str, data: NDArray[Any], **more: Any) -> InferenceRequest:  # noqa: ANN401
    """Return a request for the protocol's own client."""
    datatype = np_to_triton_dtype(data.dtype)
    values = [x.decode() if isinstance(x, bytes) else x for x in data.ravel().tolist()]
    sent = RequestInput.parse_obj(
        {"name": name, "shape": data.shape, "datatype": datatype, "data": values}
    )
    return InferenceRequest(inputs=[sent], **more)


def test_the_protocols_client_asks_for_health(oip: OpenInferenceClient, version: str) -> None:
    oip.check_server_liveness()
    oip.check_server_readiness()
    oip.check_model_readiness("deeper")
    oip.check_model_version_readiness("deeper", version)
    with pytest.raises(NotFoundError) as caught:
        oip.check_model_readiness("unknown")
    assert "unknown" in caught.value.body["error"]
    with pytest.raises(NotFoundError) as caught:
        oip.check_model_version_readiness("deeper", "1")
    assert "deeper" in caught.value.body["error"]


def test_the_protocols_client_asks_for_metadata(oip: OpenInferenceClient, version: str) -> None:
    server = oip.read_server_metadata()
    assert (server.name, server.version) == ("qmnist-digits", serving.__version__)
    model = oip.read_model_metadata("deeper")
    assert model == oip.read_model_version_metadata("deeper", version)
    assert model.versions == [version]
    assert model.outputs is not None
    assert [output.name for output in model.outputs] == list(OUTPUTS)
    calls: list[Callable[[], object]] = [
        lambda: oip.read_model_metadata("unknown"),
        lambda: oip.read_model_version_metadata("deeper", "1"),
    ]
    for call in calls:
        with pytest.raises(ApiError) as caught:
            call()
        assert caught.value.status_code == 404


@pytest.mark.parametrize(
    ("name", "data"), [("images", IMAGES), ("images_fp32", UNIT), ("pictures", BASE64)]
)
def test_the_protocols_client_infers(
    oip: OpenInferenceClient,
    expected: dict[str, Tensors],
    version: str,
    name: str,
    data: NDArray[Any],
) -> None:
    for answer in (
        oip.model_infer("deeper", request=asked(name, data, id="mine", parameters={"a": "b"})),
        oip.model_version_infer(
            "deeper", version, request=asked(name, data, id="mine", parameters={"a": "b"})
        ),
    ):
        assert (answer.model_name, answer.model_version) == ("deeper", version)
        assert (answer.id, answer.parameters) == ("mine", {"a": "b"})
        assert [output.name for output in answer.outputs] == list(OUTPUTS)
        for output in answer.outputs:
            values = np.array(output.data.dict()["__root__"]).reshape(output.shape)
            assert same_in_json(values, expected["deeper"][output.name]), output.name


def test_the_protocols_client_is_told_what_was_wrong(oip: OpenInferenceClient) -> None:
    with pytest.raises(BadRequestError) as wrong:
        oip.model_infer("deeper", request=asked("images", UNIT[:1]))
    assert "'images' must have the datatype" in wrong.value.body["error"]
    for infer in (
        partial(oip.model_infer, "unknown"),
        partial(oip.model_version_infer, "deeper", "1"),
    ):
        with pytest.raises(ApiError) as unknown:
            infer(request=asked("images", IMAGES[:1]))
        assert unknown.value.status_code == 404
