"""The requests and servers of the benchmarks, and the loop that measures them in turn.

Triton is the one in PyTriton, with its own HTTP front end. NVIDIA's wheels tritonserver and
tritonfrontend are not on the package index: the package called tritonserver there is a placeholder.
"""

import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.servers import (  # noqa: E402
    HOST,
    PEERS,
    Body,
    Measured,
    Server,
    environment,
    load,
    running,
)
from benchmarks.tables import console  # noqa: E402
from imaging import look, open_picture  # noqa: E402
from serving import settings  # noqa: E402
from serving.inference import artifacts  # noqa: E402
from serving.inference.classifier import Classifier  # noqa: E402
from serving.settings import Provider  # noqa: E402
from tests.pictures import drawn  # noqa: E402

BOUNDARY = "a-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
HEADER = "Inference-Header-Content-Length"
LONGEST = 40  # seconds: how long a slow server is loaded


@dataclass(frozen=True, eq=False)
class Target:
    """A number of clients that send one request to one server again and again.

    Attributes:
        pictures: How many pictures each request has.
        kind: The kind of picture.
    """

    name: str
    server: Server
    path: str
    body: Body
    clients: int
    pictures: int = 1
    kind: str = "28 x 28"


def measure(
    targets: list[Target], rounds: int, seconds: int
) -> tuple[dict[Target, list[Measured]], list[float]]:
    """Start each server in every round, and load it with each of its targets.

    Returns:
        The figures of each target, and the pictures per second of the bare network with 1,024 at
        once; both round by round.
    """
    found: dict[Target, list[Measured]] = {target: [] for target in targets}
    network: list[float] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("loads", total=rounds * len(targets))
        for _ in range(rounds):
            network.append(network_alone(1_024))
            for server in dict.fromkeys(target.server for target in targets):
                with running(server) as up:
                    for target in (each for each in targets if each.server is server):
                        warmed = load(up, target.path, target.body, target.clients, 1)
                        if warmed.errors:
                            sys.exit(f"{target.name} returned errors.")
                        for lasts in (seconds, LONGEST):  # longer if it answers nothing
                            loaded = load(up, target.path, target.body, target.clients, lasts)
                            if loaded.per_second:
                                break
                        else:
                            sys.exit(f"{target.name} answered nothing in {LONGEST} seconds.")
                        found[target].append(loaded)
                        progress.advance(task)
    return found, network


def picture() -> bytes:
    """Return a digit in QMNIST's form, 28 x 28, as PNG."""
    seven = look(open_picture((ROOT / "docs" / "seven.png").read_bytes(), 10**7)).pixels
    return drawn.encode(seven)


def kinds() -> dict[str, bytes]:
    """Return a digit as people send it, by kind of picture."""
    drawing = drawn.on_paper(7)
    return {
        "28 x 28": picture(),
        "280 x 280 grey": drawn.encode(drawing),
        "280 x 280 RGBA": drawn.encode(drawing.convert("RGBA")),
        "photograph": drawn.encode(drawn.photograph(7), "JPEG"),
    }


def form(name: str, pictures: list[bytes]) -> Body:
    """Return a form with several files in the field `name`."""
    parts = []
    for content in pictures:
        kind = _kind(content)
        disposition = f'Content-Disposition: form-data; name="{name}"; filename="7.{kind}"\r\n'
        head = f"--{BOUNDARY}\r\n{disposition}Content-Type: image/{kind}\r\n\r\n"
        parts.append(head.encode() + content + b"\r\n")
    return Body(b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), FORM)


def raw(content: bytes | None = None) -> Body:
    """Return a picture as the body; by default a digit in QMNIST's form."""
    content = content or picture()
    return Body(content, f"image/{_kind(content)}")


def _kind(content: bytes) -> str:
    return "png" if content.startswith(b"\x89PNG") else "jpeg"


def tensor(content: bytes) -> Body:
    """Return a picture as a JSON request of the Open Inference Protocol."""
    sent = {
        "name": "picture",
        "datatype": "BYTES",
        "shape": [1, 1],
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(content).decode()],
    }
    return Body(json.dumps({"inputs": [sent]}).encode(), "application/json")


def numbers(size: int) -> Body:
    """Return `size` pictures as a JSON tensor."""
    sent = {**_tensor(size), "data": pixels(size).ravel().tolist()}
    return Body(json.dumps({"inputs": [sent]}).encode(), "application/json")


def binary(size: int) -> Body:
    """Return `size` pictures as a binary tensor (Triton's extension), with a binary response."""
    content = pixels(size).tobytes()
    sent = {**_tensor(size), "parameters": {"binary_data_size": len(content)}}
    request = {"inputs": [sent], "parameters": {"binary_data_output": True}}
    head = json.dumps(request).encode()
    return Body(head + content, "application/octet-stream", {HEADER: str(len(head))})


def _tensor(size: int) -> dict[str, Any]:
    return {"name": "images", "datatype": "UINT8", "shape": [size, 28, 28]}


def pixels(size: int) -> NDArray[np.uint8]:
    """Return the picture's pixels `size` times, uint8 `[size, 28, 28]`."""
    return np.repeat(np.asarray(Image.open(BytesIO(picture())))[None], size, axis=0)


def peers_environment() -> Path:
    """Return the `bin` folder of the environment of all peers but MLServer and Triton."""
    return environment(
        ".venv-bench", ROOT / "requirements" / "serve.txt", PEERS / "requirements.txt"
    )


def fastapi() -> Server:
    """Return FastAPI on uvicorn, with uvloop and httptools."""
    bin_folder = peers_environment()
    command = [str(bin_folder / "uvicorn"), "fastapi_app:app", "--host", HOST, "--port", "{port}"]
    return Server("FastAPI", [*command, "--no-access-log"], "/ready", PEERS)


def bentoml_plain() -> Server:
    """Return BentoML with a picture as its API's parameter."""
    command = [str(peers_environment() / "python"), "-m", "bentoml", "serve", "bentoml_plain:Plain"]
    command += ["--host", HOST, "--port", "{port}"]
    return Server("BentoML", command, "/readyz", PEERS)


def litserve() -> Server:
    """Return LitServe."""
    command = [str(peers_environment() / "python"), str(PEERS / "litserve_app.py"), "{port}"]
    return Server("LitServe", command, "/health", PEERS)


def mlserver() -> Server:
    """Return MLServer, without parallel workers, which make it slower here.

    Its debug mode, which is the default, is off, because it logs a line per request.
    """
    bin_folder = environment(".venv-bench-mlserver", PEERS / "requirements-mlserver.txt")
    folder = bin_folder.parent / "models"
    models = {"digits": "mlserver_model.Digits", "tensors": "mlserver_model.Tensors"}
    for name, implementation in models.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        model = {"name": name, "implementation": implementation}
        (folder / name / "model-settings.json").write_text(json.dumps(model))
    settings = {
        "host": HOST,
        "debug": False,
        "parallel_workers": 0,
        "grpc_port": 0,
        "metrics_endpoint": None,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    start = "MLSERVER_HTTP_PORT={port} MLSERVER_METRICS_PORT=0 exec "
    command = ["sh", "-c", f"{start}{bin_folder / 'mlserver'} start {folder}"]
    return Server("MLServer", command, "/v2/models/tensors/ready", PEERS)


def triton(python: Path) -> Server:
    """Return Triton from PyTriton, with our classifier in a Python process."""
    bins = environment(
        ".venv-bench-pytriton", PEERS / "requirements-pytriton.txt", python=str(python)
    )
    command = [str(bins / "python"), str(PEERS / "pytriton_app.py"), "{port}"]
    return Server("Triton", command, "/v2/models/tensors/ready", PEERS)


def triton_if_it_starts() -> Server | None:
    """Return Triton with the system's Python, or print a notice if it does not start."""
    found = shutil.which("python3", path=os.defpath)
    try:
        if found:
            server = triton(Path(found))
            with running(server):
                return server
    except (subprocess.CalledProcessError, SystemExit):  # it could not be installed or started
        pass
    console.print(
        f"Skipping Triton: PyTriton does not start with {found or 'any Python found'}. "
        "Pass another Python with --triton.\n",
        highlight=False,
    )
    return None


def network_alone(size: int) -> float:
    """Return pictures per second of the network in this process, on one core."""
    chosen = settings.load()
    classifier = Classifier(artifacts.load(chosen.models / chosen.model), Provider.CPU)
    images, times = pixels(size), []
    for _ in range(100):
        started = time.perf_counter()
        classifier.predict(images)
        times.append(time.perf_counter() - started)
    return size / statistics.median(times)
