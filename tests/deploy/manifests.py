"""Read the manifests in `deploy/`: as files, and as kustomize renders them."""

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

Resource = dict[str, Any]

DEPLOY = ROOT / "deploy"
KUBECTL = Path(sys.executable).with_name("kubectl")
OVERLAYS = sorted(path.name for path in (DEPLOY / "kubernetes" / "overlays").iterdir())
AUTOSCALERS = ("HorizontalPodAutoscaler", "ScaledObject")
AT_REST = 320e6  # bytes of a pod's memory limit that are meant for each idle worker


@functools.cache
def rendered(overlay: str) -> dict[str, Resource]:
    """Return an overlay's resources by kind; there is one of each kind."""
    folder = DEPLOY / "kubernetes" / "overlays" / overlay
    text = subprocess.run(
        [KUBECTL, "kustomize", folder], capture_output=True, text=True, check=True
    ).stdout
    resources = list(yaml.safe_load_all(text))
    by_kind = {resource["kind"]: resource for resource in resources}
    assert len(by_kind) == len(resources)
    return by_kind


@functools.cache
def inference_service() -> Resource:
    text = (DEPLOY / "kserve" / "inference-service.yaml").read_text(encoding="utf-8")
    found: Resource = yaml.safe_load(text)
    return found


def pod(name: str) -> Resource:
    """Return the pod spec of an overlay, or the pod fields of the InferenceService for "kserve"."""
    if name != "kserve":
        found: Resource = rendered(name)["Deployment"]["spec"]["template"]["spec"]
        return found
    its_own = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout"}
    predictor = inference_service()["spec"]["predictor"]
    return {field: value for field, value in predictor.items() if field not in its_own}


def container(name: str) -> Resource:
    (only,) = pod(name)["containers"]
    found: Resource = only
    return found


def environment(name: str) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container(name)["env"]}


def autoscaler(overlay: str) -> Resource:
    (only,) = (rendered(overlay)[kind] for kind in AUTOSCALERS if kind in rendered(overlay))
    return only


@functools.cache
def composed(file: Path = DEPLOY / "compose.yaml") -> dict[str, Resource]:
    """Return the services of a Compose file by name."""
    found: dict[str, Resource] = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]
    return found


def seconds(duration: str) -> int:
    """Return a Compose duration, such as "30s", in seconds."""
    assert duration.endswith("s")
    return int(duration[:-1])
