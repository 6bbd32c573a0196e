"""The image, run as process 1, without capabilities and read-only except for /tmp."""

import http.client
import json
import os
import re
import signal
import stat
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import yaml
from pathspec import GitIgnoreSpec

from tests.conftest import ROOT, in_flight, until
from tests.deploy.manifests import composed, seconds
from tests.image.conftest import Container, Image, RunContainer, read_description

LIMIT = 450_000_000  # bytes beyond the base
STOP_SECONDS = 10  # Docker's default before it kills a container
GRACE_SECONDS = min(
    seconds(service["stop_grace_period"]) for name, service in composed().items() if name != "proxy"
)
SEVEN = (ROOT / "docs" / "seven.png").read_bytes()


def test_its_size_beyond_the_base(image: Image) -> None:
    size = size_of(image.root) - size_of(image.base)
    print(f"\n{size / 1e6:.0f} MB beyond a base of {size_of(image.base) / 1e6:.0f} MB")
    assert size <= LIMIT


def test_it_holds_what_serves_and_not_what_builds(image: Image) -> None:
    added = {path.relative_to(image.root) for path in files(image.root)}
    added -= {path.relative_to(image.base) for path in files(image.base)}
    builder = re.compile(r"(^|-)(gcc|g\+\+|cc|c\+\+|clang|git|uv)(-\d+)?$")
    assert not [path for path in files(image.root) if builder.search(path.name)]
    parts = {part for path in added for part in path.parts}
    assert not parts & {"torch", "pip", "setuptools", "tests", ".cache", "build", "wheels"}
    assert not [path for path in added if path.suffix == ".conf"]


def test_it_holds_the_files_that_a_bento_holds(image: Image) -> None:
    app = image.root / "app"
    held = {path.relative_to(app) for path in files(app) if "__pycache__" not in path.parts}
    held = {path for path in held if path.parts[0] != ".venv"} - {Path("sbom.cdx.json")}
    include = yaml.safe_load((ROOT / "bentofile.yaml").read_text(encoding="utf-8"))["include"]
    included = GitIgnoreSpec.from_lines([*include, "/bentofile.yaml"])
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    ours = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert held == {Path(path) for path in included.match_files(ours.splitlines())}
    assert Path("models", "deeper", "model.onnx") in held


def test_who_serves_may_write_nothing_of_it(image: Image) -> None:
    assert image.config["User"] == "1034:1034"
    for path in (image.root / "app").rglob("*"):
        status = path.lstat()
        assert status.st_uid == 0, path
        assert stat.S_ISLNK(status.st_mode) or not status.st_mode & 0o022, path


def test_all_of_it_is_compiled(image: Image) -> None:
    """The service's user cannot write compiled files, so Python would compile at every start."""
    for folder in (".venv/lib", "artifact", "imaging", "serving"):
        sources = list((image.root / "app" / folder).rglob("*.py"))
        assert sources
        for source in sources:
            (compiled,) = source.parent.glob(f"__pycache__/{source.stem}.cpython-*.pyc")
            flags = int.from_bytes(compiled.read_bytes()[4:8], "little")
            assert flags == 0b01, compiled  # valid regardless of the source's time and hash


def test_nothing_reports_to_its_makers(image: Image) -> None:
    assert image.environment["BENTOML_DO_NOT_TRACK"] == "True"
    assert image.environment["ORT_DISABLE_TELEMETRY"] == "1"


def test_another_model_is_another_last_layer_alone(image: Image) -> None:
    layers = image.description["Docker"]["rootfs"]["diff_ids"]
    other = read_description("QMNIST_OTHER_IMAGE")["Docker"]["rootfs"]["diff_ids"]
    assert layers[:-1] == other[:-1]
    assert layers[-1] != other[-1]


def test_its_bill_of_materials_names_what_is_installed(image: Image) -> None:
    bill = json.loads((image.root / "app" / "sbom.cdx.json").read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    listed = {part["name"]: part for part in bill["components"]}
    packages = (image.root / "app" / ".venv" / "lib").glob("python3.*/site-packages/*.dist-info")
    installed = {re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower() for path in packages}
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in listed} == installed
    lock = (ROOT / "requirements" / "serve.txt").read_text(encoding="utf-8")
    version = listed["onnxruntime"]["version"]
    assert f"onnxruntime=={version} " in lock
    assert listed["onnxruntime"]["purl"] == f"pkg:pypi/onnxruntime@{version}"


def test_it_answers(container: Container) -> None:
    assert httpx.post(f"{container.url}/predict", content=SEVEN).json()["digit"] == 7
    assert httpx.get(f"{container.url}/ui/").is_success
    assert httpx.get(f"{container.url}/ui/report").is_success


def test_its_log_is_its_output(container: Container) -> None:
    log = container.stdout.read_text(encoding="utf-8")
    assert "Service qmnist-digits initialized" in log
    port = container.environment["PORT"]
    assert f"Draw a digit: http://localhost:{port}/ui/" in log
    assert container.stderr.read_text(encoding="utf-8") == ""


def test_its_log_has_a_line_for_each_request(run_container: RunContainer) -> None:
    with run_container(QMNIST_LOG="json") as container:
        assert httpx.post(f"{container.url}/predict", content=SEVEN).is_success
        until(lambda: "/predict" in container.stdout.read_text(encoding="utf-8"))
        lines = container.stdout.read_text(encoding="utf-8").splitlines()
        requests = [json.loads(line) for line in lines if line.startswith("{")]
        (request,) = (request for request in requests if request["path"] == "/predict")
        assert (request["method"], request["status"]) == ("POST", 200)
        assert container.stderr.read_text(encoding="utf-8") == ""


def test_its_health_check_asks_it(container: Container) -> None:
    kind, *command = container.image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    assert container.run(*command) == 0
    assert container.run(*command, PORT="9") == 1  # nothing listens there


def test_its_user_has_no_power(container: Container) -> None:
    status = Path(f"/proc/{container.pid}/status").read_text()
    powers = re.findall(r"^Cap(?:Prm|Eff|Bnd|Amb):\s*(\w+)$", status, re.MULTILINE)
    assert {int(power, 16) for power in powers} == {0}
    assert re.search(r"^Uid:\s+1034\s+1034\s+1034\s+1034$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)


def test_it_runs_where_it_may_write_to_tmp_alone(container: Container) -> None:
    # /var/tmp is writable for everyone in the image; only the read-only mount forbids it.
    assert stat.S_IMODE((container.image.root / "var" / "tmp").stat().st_mode) == 0o1777
    assert container.run("touch", "/var/tmp/written") != 0  # noqa: S108  the container's own
    assert container.run("touch", "/tmp/written") == 0  # noqa: S108


def test_settings_reach_it(run_container: RunContainer) -> None:
    settings = {"QMNIST_MODEL": "baseline", "QMNIST_API_KEYS": "secret"}
    with run_container(**settings) as container:
        url = f"{container.url}/predict"
        assert httpx.post(url, content=SEVEN).status_code == 401
        answer = httpx.post(url, content=SEVEN, headers={"X-API-Key": "secret"})
        assert answer.json()["model"] == "baseline"


def test_a_worker_that_dies_is_started_again(run_container: RunContainer) -> None:
    with run_container(QMNIST_WORKERS="2") as container:
        first, second = container.workers()
        os.kill(first, signal.SIGKILL)
        until(lambda: len(set(container.workers()) - {first}) == 2)
        assert second in container.workers()
        assert httpx.post(f"{container.url}/predict", content=SEVEN).json()["digit"] == 7


def test_sigterm_ends_it_after_the_answers_that_it_owes(run_container: RunContainer) -> None:
    with run_container() as container:
        address = urlsplit(container.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port)
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", str(len(SEVEN)))
        connection.endheaders(SEVEN[:100])
        until(lambda: in_flight(container.url) == 1)
        os.kill(container.pid, signal.SIGTERM)
        until(lambda: not answers(container.url))  # once QMNIST_DRAIN has passed
        connection.send(SEVEN[100:])
        answer = connection.getresponse()
        assert answer.status == 200
        assert json.load(answer)["digit"] == 7
        assert container.process.wait(GRACE_SECONDS) == 0


def test_sigterm_ends_it_soon_if_it_owes_none(run_container: RunContainer) -> None:
    with run_container() as container:
        os.kill(container.pid, signal.SIGTERM)
        assert container.process.wait(STOP_SECONDS) == 0
        assert not answers(container.url)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=1).is_success
    except httpx.TransportError:
        return False


def files(root: Path) -> list[Path]:
    """Return all files and links, except below folders that a running system mounts."""
    mounted = {root / name for name in ("proc", "sys", "dev", "tmp")}
    return [
        Path(folder, name)
        for folder, folders, names in os.walk(root)
        if not mounted & {Path(folder), *Path(folder).parents}
        for name in names
    ]


def size_of(root: Path) -> int:
    return sum(path.lstat().st_size for path in files(root))
