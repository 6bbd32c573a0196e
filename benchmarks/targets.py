"""What the benchmarks send, and to whom."""

import base64
import json
import statistics
import sys
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.servers import HOST, PEERS, Body, Server  # noqa: E402
from imaging import look, open_picture  # noqa: E402
from serving import settings  # noqa: E402
from serving.inference import artifacts  # noqa: E402
from serving.inference.classifier import Classifier  # noqa: E402
from serving.settings import Provider  # noqa: E402

BOUNDARY = "a-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Target:
    """One way to send a picture to one server."""

    name: str
    server: Server
    path: str
    body: Body


def picture() -> bytes:
    """A digit as QMNIST has them, 28 x 28, as PNG."""
    stream = BytesIO()
    seven = look(open_picture((ROOT / "docs" / "seven.png").read_bytes(), 10**7)).pixels
    Image.fromarray(seven).save(stream, "PNG")
    return stream.getvalue()


def form(name: str, pictures: list[bytes]) -> Body:
    """A form with files of one name."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="7.png"\r\n'
    parts = [head.encode() + b"Content-Type: image/png\r\n\r\n" + p + b"\r\n" for p in pictures]
    return Body(b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), FORM)


def raw() -> Body:
    """The picture as it is."""
    return Body(picture(), "image/png")


def tensor() -> Body:
    """The picture as the Open Inference Protocol has it."""
    text = base64.b64encode(picture()).decode()
    sent = {
        "name": "picture",
        "datatype": "BYTES",
        "shape": [1, 1],
        "parameters": {"content_type": "base64"},
        "data": [text],
    }
    return Body(json.dumps({"inputs": [sent]}).encode(), "application/json")


def fastapi(bin_folder: Path) -> Server:
    """FastAPI on uvicorn, with uvloop and httptools."""
    command = [str(bin_folder / "uvicorn"), "fastapi_app:app", "--host", HOST, "--port", "{port}"]
    return Server("FastAPI", [*command, "--no-access-log"], "/ready", PEERS)


def bentoml_service(bin_folder: Path, module: str, name: str) -> Server:
    """One of the BentoML services among the peers."""
    command = [str(bin_folder / "python"), "-m", "bentoml", "serve", f"{module}:{name}"]
    return Server(name, [*command, "--host", HOST, "--port", "{port}"], "/readyz", PEERS)


def mlserver(environment: Path) -> Server:
    """MLServer, with its models in this process: parallel workers cost it more than they bring.

    By default it is in debug mode, which writes a line for each request; nobody else here does.
    """
    folder = environment / "models"
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
    command = ["sh", "-c", f"{start}{environment / 'bin' / 'mlserver'} start {folder}"]
    return Server("MLServer", command, "/v2/models/tensors/ready", PEERS)


def network_alone(size: int) -> float:
    """Images a second of the network in this process, on one core."""
    chosen = settings.load()
    classifier = Classifier(artifacts.load(chosen.models / chosen.model), Provider.CPU)
    images = np.repeat(np.asarray(Image.open(BytesIO(picture())))[None], size, axis=0)
    times = []
    for _ in range(100):
        started = time.perf_counter()
        classifier.predict(images)
        times.append(time.perf_counter() - started)
    return size / statistics.median(times)
