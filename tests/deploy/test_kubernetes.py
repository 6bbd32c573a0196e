"""Kubernetes' schemas and the service accept the manifests in `deploy/`, rendered by kustomize."""

import copy
import importlib
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import kubernetes_validate
import pytest
import yaml
from bentoml._internal.container.generate import BENTO_UID_GID

from serving import settings
from serving.settings import Settings
from serving.telemetry import metrics
from tests.conftest import COMMITTED_MODELS, ROOT, StartServer
from tests.deploy.manifests import (
    AT_REST,
    DEPLOY,
    KUBECTL,
    OVERLAYS,
    Resource,
    autoscaler,
    container,
    environment,
    inference_service,
    pod,
    rendered,
)

KSERVE = ROOT / ".venv-kserve" / "bin" / "python"

PODS = [*OVERLAYS, "kserve"]
VERSIONS = ("1.30", kubernetes_validate.latest_version())

# Kinds that others add to Kubernetes, and the modules with models of their definitions.
ADDED = {
    "ServiceMonitor": "cloudcoil.models.prometheus_operator.v1",
    "ScaledObject": "cloudcoil.models.keda.v1alpha1",
}

PORT = 3_000  # BentoML's port in a container unless PORT is set
KEY = "a-key"
UNITS = {"Mi": 2**20, "Gi": 2**30}


def check(resource: Resource, version: str) -> None:
    """Check that all fields of a resource are known and have the right types."""
    module = ADDED.get(resource["kind"])
    if module is None:
        kubernetes_validate.validate(resource, version, strict=True)
        return
    model = getattr(importlib.import_module(module), resource["kind"])
    known = model.model_validate(resource).model_dump(by_alias=True, exclude_unset=True)
    assert known == resource  # the model drops fields that it does not know


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_valid(overlay: str, version: str) -> None:
    for resource in rendered(overlay).values():
        check(resource, version)


def test_the_overlay_in_the_document_is_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    ((name, text),) = re.findall(r"```yaml\n# deploy/kubernetes/(\S+)\n(.+?)```", page, re.DOTALL)
    file = shutil.copytree(DEPLOY / "kubernetes", tmp_path / "kubernetes") / name
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    made = subprocess.run(
        [KUBECTL, "kustomize", file.parent], capture_output=True, text=True, check=True
    ).stdout
    for resource in yaml.safe_load_all(made):
        check(resource, VERSIONS[-1])


@pytest.mark.parametrize("kind", ["Deployment", "NetworkPolicy", *ADDED])
def test_a_field_with_a_mistake_in_it_is_not_valid(kind: str) -> None:
    resource = rendered("monitored")[kind]
    mistaken = {**resource, "spec": {**resource["spec"], "replcias": 2}}
    with pytest.raises((kubernetes_validate.ValidationError, AssertionError)):
        check(mistaken, VERSIONS[-1])


def test_the_inference_service_has_fields_that_kserve_knows() -> None:
    assert KSERVE.exists(), "KServe's client is not installed. Run `make .venv-kserve/installed`."

    def mistakes(manifest: Resource) -> list[str]:
        command = [KSERVE, ROOT / "tests" / "deploy" / "kserve_fields.py"]
        return subprocess.run(
            command, input=yaml.safe_dump(manifest), capture_output=True, text=True, check=True
        ).stdout.splitlines()

    assert mistakes(inference_service()) == []
    mistaken = copy.deepcopy(inference_service())
    mistaken["metadata"]["annotations"]["a"] = True
    predictor = mistaken["spec"]["predictor"]
    predictor |= {"maxReplcias": 2, "scaleTarget": "65", "timeout": True}
    predictor["containers"][0]["env"] = {"PROTOCOL": "v2"}
    predictor["containers"][0]["ports"][0]["prot"] = "TCP"
    path = "InferenceService.spec.predictor"
    assert sorted(mistakes(mistaken)) == [
        "InferenceService.metadata.annotations.a",
        f"{path}.containers.0.env",
        f"{path}.containers.0.ports.0.prot",
        f"{path}.maxReplcias",
        f"{path}.scaleTarget",
        f"{path}.timeout",
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_inference_services_pod_is_valid(version: str) -> None:
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pod("kserve")}
    check(manifest, version)


def test_the_inference_service_says_what_it_speaks() -> None:
    assert inference_service()["apiVersion"] == "serving.kserve.io/v1beta1"
    assert container("kserve")["name"] == "kserve-container"
    assert environment("kserve")["PROTOCOL"] == "v2"


def test_the_inference_service_is_scaled_as_kserve_can_without_knative() -> None:
    """KServe's client cannot check annotation values and the metrics that fit them."""
    annotations = inference_service()["metadata"]["annotations"]
    assert annotations == {
        "serving.kserve.io/deploymentMode": "Standard",
        "serving.kserve.io/autoscalerClass": "hpa",
    }
    assert inference_service()["spec"]["predictor"]["scaleMetric"] in {"cpu", "memory"}


@pytest.mark.parametrize("name", PODS)
def test_a_pod_may_do_nothing_that_it_need_not(name: str) -> None:
    assert pod(name)["automountServiceAccountToken"] is False
    assert pod(name)["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": BENTO_UID_GID,
        "runAsGroup": BENTO_UID_GID,
        "fsGroup": BENTO_UID_GID,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("name", PODS)
def test_what_is_written_is_written_into_an_empty_folder(name: str) -> None:
    volumes = {volume["name"]: volume for volume in pod(name)["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container(name)["volumeMounts"]}
    writable = {path for path, mount in mounts.items() if not mount.get("readOnly")}
    assert writable == {"/tmp"}  # noqa: S108  in the container
    assert "emptyDir" in volumes[mounts["/tmp"]["name"]]  # noqa: S108
    assert Path(environment(name)["BENTOML_HOME"]).is_relative_to("/tmp")  # noqa: S108


@pytest.mark.parametrize("name", PODS)
def test_probes_ask_for_addresses_that_answer(name: str, server: str) -> None:
    probes = {
        kind: container(name)[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")
    }
    for probe in probes.values():
        assert probe["httpGet"]["port"] == "http"
        assert httpx.get(server + probe["httpGet"]["path"]).is_success
    assert probes["startup"]["httpGet"] == probes["liveness"]["httpGet"]
    assert probes["readiness"]["httpGet"] != probes["liveness"]["httpGet"]


@pytest.mark.parametrize("name", PODS)
def test_every_variable_is_a_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = environment(name)
    of_others = {"BENTOML_HOME", "PROTOCOL"}
    assert {f"QMNIST_{field}".upper() for field in Settings.model_fields} >= (
        variables.keys() - of_others
    )
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    settings.load()


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_the_time_to_go_in_order(name: str) -> None:
    before = container(name)["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain, timeout = (float(environment(name)[f"QMNIST_{n}"]) for n in ("DRAIN", "TIMEOUT"))
    assert pod(name)["terminationGracePeriodSeconds"] >= before + drain + 2 * timeout


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_the_memory_that_its_limits_allow(name: str) -> None:
    """The limit covers what docs/security.md counts: two pictures, one batch, and bodies."""
    workers = int(environment(name)["QMNIST_WORKERS"])
    a_worker = AT_REST + 3 * 500e6 + 8 * Settings().max_batch_bytes
    limit = container(name)["resources"]["limits"]["memory"]
    assert int(limit[:-2]) * UNITS[limit[-2:]] >= workers * a_worker
    assert int(container(name)["resources"]["requests"]["cpu"]) == workers


@pytest.mark.parametrize("name", PODS)
def test_the_port_is_bentomls(name: str) -> None:
    assert container(name)["ports"] == [{"name": "http", "containerPort": PORT}]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_mean_the_same_port(overlay: str) -> None:
    resources = rendered(overlay)
    (port,) = resources["Service"]["spec"]["ports"]
    assert (port["name"], port["targetPort"]) == ("http", "http")
    assert resources["NetworkPolicy"]["spec"]["ingress"] == [{"ports": [{"port": "http"}]}]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_mean_the_same_pods(overlay: str) -> None:
    resources = rendered(overlay)
    deployment = resources["Deployment"]
    template = deployment["spec"]["template"]
    (spread,) = template["spec"]["topologySpreadConstraints"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        resources["Service"]["spec"]["selector"],
        resources["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        resources["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        spread["labelSelector"]["matchLabels"],
    ):
        assert selector
        assert selector.items() <= template["metadata"]["labels"].items()
    assert autoscaler(overlay)["spec"]["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_goes_out(overlay: str) -> None:
    policy = rendered(overlay)["NetworkPolicy"]["spec"]
    assert policy["egress"] == []
    assert policy["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_can_be_taken_and_others_are_left(overlay: str) -> None:
    spec = autoscaler(overlay)["spec"]
    least = spec.get("minReplicas") or spec["minReplicaCount"]
    assert least > rendered(overlay)["PodDisruptionBudget"]["spec"]["maxUnavailable"]
    assert "replicas" not in rendered(overlay)["Deployment"]["spec"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_new_version_waits_for_no_gpu_that_is_free(overlay: str) -> None:
    rolling = rendered(overlay)["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    if overlay == "gpu":
        assert rolling == {"maxUnavailable": 1, "maxSurge": 0}
    else:
        assert rolling["maxUnavailable"] == 0


def test_only_the_overlay_for_gpus_wants_one() -> None:
    wanting = {
        overlay: environment(overlay).get("QMNIST_PROVIDER", "cpu")
        for overlay in OVERLAYS
        if "nvidia.com/gpu" in container(overlay)["resources"]["limits"]
    }
    assert wanting == {"gpu": "cuda"}


def test_autoscaling_asks_for_what_is_counted(server: str) -> None:
    (trigger,) = rendered("monitored")["ScaledObject"]["spec"]["triggers"]
    name, labels = re.findall(r"rate\((\w+)\{(.+?)\}", trigger["metadata"]["query"])[0]
    namespace, label = labels.split(", ")
    assert namespace == 'namespace="default"'  # Prometheus adds this label to what it scrapes
    assert label == f'service_name="{metrics.SERVICE}"'
    httpx.post(f"{server}/predict", content=b"no picture")
    counts = httpx.get(f"{server}/metrics").text
    assert re.search(rf"^{name}\{{[^}}]*{label}[^}}]*\}} \S+$", counts, re.MULTILINE)


def test_prometheus_has_the_key_that_the_service_wants(
    start_server: StartServer, tmp_path: Path
) -> None:
    resources = rendered("monitored")
    (volume,) = (each for each in pod("monitored")["volumes"] if "secret" in each)
    (mount,) = (m for m in container("monitored")["volumeMounts"] if m["name"] == volume["name"])
    (item,) = volume["secret"]["items"]
    file = Path(mount["mountPath"], item["path"])
    assert environment("monitored")["QMNIST_API_KEYS_FILE"] == str(file)

    monitor = resources["ServiceMonitor"]["spec"]
    service = resources["Service"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    authorization = endpoint["authorization"]
    assert authorization["credentials"]["name"] == volume["secret"]["secretName"]

    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n", encoding="utf-8")
    with start_server(COMMITTED_MODELS, api_keys_file=keys) as url:
        headers = {"Authorization": f"{authorization['type']} {KEY}"}
        assert httpx.get(url + endpoint["path"]).status_code == httpx.codes.UNAUTHORIZED
        assert httpx.get(url + endpoint["path"], headers=headers).is_success


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "monitored"])
def test_other_overlays_want_no_secret(overlay: str) -> None:
    assert "secret" not in yaml.safe_dump(rendered(overlay))
