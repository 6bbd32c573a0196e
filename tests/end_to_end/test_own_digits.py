"""Train on pictures that the model misreads, until the running service reads them correctly."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import numpy as np

from tests.conftest import COMMITTED_MODELS, ROOT, RunServer, until
from tests.pictures import drawn, hand

PICTURES = 20


def test_ones_that_were_sevens_are_ones_once_they_are_learned(
    run_server: RunServer, tmp_path: Path
) -> None:
    drawn.write_qmnist(tmp_path / "data", train=10_000, test=500)
    hand.write_folder(tmp_path / "digits", PICTURES, [1])
    packed = tmp_path / "digits.zip"  # in the format that the page downloads
    with zipfile.ZipFile(packed, "w") as archive:
        for path in (tmp_path / "digits").rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path / "digits"))
    rng = np.random.default_rng(1)
    others = [drawn.encode(hand.write(1, rng)) for _ in range(PICTURES)]
    models = tmp_path / "models"
    shutil.copytree(COMMITTED_MODELS / "deeper", models / "deeper")

    with run_server(models, model="deeper", model_poll=0.05) as server:

        def answers() -> list[int]:
            asked = [httpx.post(f"{server.url}/predict", content=picture) for picture in others]
            return [int(answer.json()["digit"]) for answer in asked]

        def version() -> str:
            (served,) = httpx.get(f"{server.url}/v2/models/deeper").json()["versions"]
            return str(served)

        assert answers().count(7) > PICTURES / 2
        before = version()
        command = [sys.executable, "-m", "training", "fit", "deeper", "--extra", str(packed)]
        command += ["--data", str(tmp_path / "data"), "--models", str(models)]
        command += ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert f"{packed}: 16 pictures to learn from, 4 held out" in done.stdout
        card = json.loads((models / "deeper" / "card.json").read_text(encoding="utf-8"))
        assert card["training"]["base"] == before
        rows = {name: split["rows"] for name, split in card["data"]["splits"].items()}
        assert (rows["extra_train"], rows["extra_validation"]) == (16, 4)
        until(lambda: version() == card["version"])
        assert answers().count(1) > PICTURES / 2
