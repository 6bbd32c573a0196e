"""`python -m serving evaluate` and `label`, run as a user does."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from imaging import look, open_picture
from serving.__main__ import main
from serving.inference import artifacts
from serving.inference.classifier import Classifier
from serving.offline import engines, sources
from serving.offline.engines import EngineError
from serving.offline.labelling import Count, Job, Labeller, ahead
from serving.offline.results import Format, Results
from serving.offline.shards import Sample, Unreadable
from serving.offline.sources import find_shards, names
from serving.settings import Provider
from tests.conftest import COMMITTED_MODELS, ROOT
from tests.pictures import drawn
from tests.serving.offline.conftest import write_pixels, write_tar


def run(*arguments: object, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", **settings},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["baseline", "deeper", "dropout"])
def test_the_counts_equal_the_cards(
    name: str, models: Path, data_root: Path, tmp_path: Path
) -> None:
    output = tmp_path / "result.json"
    done = run("evaluate", data_root, "--model", name, "--json", output, QMNIST_MODELS=str(models))
    assert done.returncode == 0, done.stderr
    card = artifacts.load(models / name).card
    results = json.loads(output.read_text(encoding="utf-8"))
    assert results
    for result in results:
        expected = card.evaluation[result["source"]]
        assert (result["correct"], result["total"]) == (expected.correct, expected.total)
        assert result["version"] == card.version
        assert np.trace(result["confusion"]) == result["correct"]
        assert f"{result['correct']:,} of {result['total']:,} right" in done.stdout


def test_folders_are_evaluated_and_bad_pictures_told(folder: Path) -> None:
    """A labelled picture that cannot be read counts as wrong."""
    (folder / "7" / "late.png").write_bytes(b"")
    output = folder.parent / "result.json"
    done = run("evaluate", folder, "--json", output)
    assert done.returncode == 0, done.stderr
    assert "4 of 5 right, 80.00 %; 1 of them could not be read" in done.stdout
    assert "; 2 without a label could not be read; " in done.stdout
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("│ 7 "))
    assert [cell.strip() for cell in row.split("│")[-4:-1]] == ["·", "1", "66.67 %"]
    (result,) = json.loads(output.read_text(encoding="utf-8"))
    assert (result["correct"], result["refused"], result["total"]) == (4, 1, 5)
    assert result["errors"] == 3
    assert result["by_class"][7] == {"digit": 7, "correct": 2, "refused": 1, "total": 3}
    assert np.array(result["confusion"]).shape == (10, 10)
    assert np.sum(result["confusion"]) == 4


def test_a_folder_of_which_nothing_can_be_read_is_evaluated(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "late.png").touch()
    done = run("evaluate", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 of 1 right, 0.00 %; 1 of them could not be read" in done.stdout


def labelled(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(folder).to_pylist()
    return rows


def test_every_picture_gets_a_row(folder: Path, tmp_path: Path, job: Job) -> None:
    done = run("label", folder, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "6 pictures labelled by deeper" in done.stdout
    assert "2 of them with an error" in done.stdout
    rows = labelled(tmp_path / "out")
    assert [(row["path"], row["digit"]) for row in rows] == [
        (str(folder / "2" / "drawing.png"), 2),
        (str(folder / "2" / "small.jpg"), 2),
        (str(folder / "7" / "drawing.png"), 7),
        (str(folder / "7" / "small.jpg"), 7),
        (str(folder / "damaged.png"), None),
        (str(folder / "notes.txt"), None),
    ]
    assert [row["error"] for row in rows[:4]] == [None] * 4
    assert "damaged" in str(rows[4]["error"])
    assert "not a picture" in str(rows[5]["error"])
    answers = ("confidence", "typicality", "accepted", "reason", "probabilities")
    assert [rows[5][name] for name in answers] == [None] * 5
    classifier = Classifier(job.artifact, Provider.CPU)
    for row in rows[:4]:
        view = look(open_picture(Path(str(row["path"])).read_bytes(), job.max_image_pixels))
        (expected,) = classifier.predict(view.pixels[None]).rows()
        for name in ("probabilities", "confidence"):
            assert row[name] == pytest.approx(getattr(expected, name), abs=1e-6)
        assert row["typicality"] == pytest.approx(expected.typicality, rel=1e-4)
        assert (row["accepted"], row["reason"]) == (expected.accepted, expected.reason)


def test_csv_has_the_same(folder: Path, tmp_path: Path) -> None:
    digits = drawn.digits(70, seed=5)[0]
    for i, (image, other) in enumerate(pairwise(digits)):  # overlaid digits: some are not accepted
        Image.fromarray(np.maximum(image, other)).save(folder / f"{i}.png")
    assert run("label", folder, tmp_path / "parquet").returncode == 0
    assert run("label", folder, tmp_path / "csv", "--format", "csv").returncode == 0
    with (tmp_path / "csv" / "part-000000.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["reason"] for row in rows} == {"", "unsure", "atypical"}
    for row, expected in zip(rows, labelled(tmp_path / "parquet"), strict=True):
        assert row["path"] == expected["path"]
        assert row["error"] == (expected["error"] or "")
        assert row["digit"] == ("" if expected["digit"] is None else str(expected["digit"]))
        assert row["accepted"] == {True: "true", False: "false", None: ""}[expected["accepted"]]  # type: ignore[index]
        assert row["reason"] == (expected["reason"] or "")
        if isinstance(expected["probabilities"], list):
            assert float(row["typicality"]) == pytest.approx(expected["typicality"], abs=1e-6)
            found = [float(row[f"p{i}"]) for i in range(10)]
            assert found == pytest.approx(expected["probabilities"], abs=1e-6)


@pytest.fixture
def mixed(folder: Path) -> Path:
    """Pictures from every kind of source, below one folder."""
    write_pixels(folder / "pixels.parquet", 3_000, rows=700)
    (folder / "broken.parquet").write_bytes(b"PAR1")
    for i in range(3):
        write_tar(
            folder / f"{i}.tar", **{f"{d}.png": drawn.encode(drawn.on_paper(d)) for d in range(9)}
        )
    return folder


@pytest.mark.full
def test_both_engines_give_identical_rows(mixed: Path, tmp_path: Path) -> None:
    for engine in ("local", "ray"):
        done = run("label", mixed, tmp_path / engine, "--engine", engine)
        assert done.returncode == 0, done.stderr
        assert "3,034 pictures labelled" in done.stdout
    local, ray = (pq.read_table(tmp_path / engine) for engine in ("local", "ray"))
    assert local.num_rows == 3_034
    assert local.equals(ray)


# Run `label` in a process that kills itself while it writes the sixth part.
KILLED = """
import os, signal, sys
from imaging import look, open_picture
from serving.__main__ import main
from serving.offline.results import Results
write = Results.write
def write_five(results, number, rows):
    write(results, number, killed(rows) if number == 5 else rows)
def killed(rows):
    yield next(rows)
    os.kill(os.getpid(), signal.SIGKILL)
Results.write = write_five
main()
"""


def test_a_run_that_is_killed_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    source = tmp_path / "pixels.parquet"
    write_pixels(source, 1_000, rows=100)
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, "label", str(source), str(out), "--workers", "1"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert list(out.glob(".part-*"))  # the unfinished part
    done = run("label", source, out)
    assert done.returncode == 0, done.stderr
    assert "5 of 10 parts are already done" in done.stdout
    assert "500 pictures labelled" in done.stdout
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("*part-*")}
    assert len(after) == 10
    assert before.items() <= after.items()
    whole = run("label", source, tmp_path / "whole")
    assert whole.returncode == 0
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "whole"))
    again = run("label", source, out)
    assert "10 of 10 parts are already done" in again.stdout


def test_a_folder_of_other_results_is_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("label", folder, out).returncode == 0
    for change in (
        ["label", folder / "7", out],
        ["label", folder, out, "--model", "baseline"],
        ["label", folder, out, "--format", "csv"],
    ):
        done = run(*change)
        assert done.returncode == 2
        assert "has results of other pictures, or of another model or format" in done.stderr
    done = run("label", folder / "2", folder / "7")
    assert "is not empty" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "serving", "--model", "nameless"], "there is no model 'nameless'"),
        (["evaluate", "nowhere"], "there are no files at nowhere"),
        (["evaluate", "docs/seven.png"], "no picture at docs/seven.png has a label"),
        (["label", "docs/seven.png", "nothing://out"], "nothing can be written to nothing://out"),
    ],
)
def test_what_a_person_can_mend_is_one_sentence(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


class Deadly(Unreadable):
    """A shard that ends its process, as running out of memory does."""

    def read(self, largest: int) -> Iterator[Sample]:  # noqa: ARG002
        os._exit(9)


def test_a_killed_process_is_told(job: Job) -> None:
    with pytest.raises(EngineError, match="a process was killed"):
        list(engines.run_local(job, {0: Deadly("a", "")}, None, workers=2))


def test_what_is_wrong_with_a_provider_is_told_by_many_processes_too(folder: Path) -> None:
    done = run(
        "evaluate", folder, "--workers", "2", QMNIST_PROVIDER="cuda", CUDA_VISIBLE_DEVICES=""
    )
    assert done.returncode == 2
    assert "CUDAExecutionProvider" in done.stderr.splitlines()[-1]


class Slow(Unreadable):
    """A remote shard that does not answer."""

    def read(self, largest: int) -> Iterator[Sample]:  # noqa: ARG002
        raise TimeoutError


def test_what_does_not_answer_is_not_done(job: Job, tmp_path: Path) -> None:
    results = Results(str(tmp_path / "out"), Format.PARQUET)
    results.prepare("deeper", "1", ["a"])
    with pytest.raises(TimeoutError):
        list(engines.run_local(job, {0: Slow("a", "")}, results, workers=1))
    assert results.prepare("deeper", "1", ["a"]) == set()


@pytest.mark.parametrize("command", ["evaluate", "label"])
def test_what_does_not_answer_is_told(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sources, "find_shards", lambda *_: [Slow("a", "")])
    output = [str(tmp_path / "out")] if command == "label" else []
    arguments = [command, str(tmp_path / "in"), *output, "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["serving", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: no answer arrived in time; run the same command again: `label` continues where it "
        "stopped"
    )


def test_a_group_without_rows_is_evaluated_as_none(folder: Path) -> None:
    write_tar(folder / "empty.tar")
    done = run("evaluate", folder)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 right" in done.stdout


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_a_name_that_is_not_utf8(tmp_path: Path, file_format: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / os.fsdecode(b"\xff.png")).write_bytes(drawn.encode(drawn.on_paper(7)))
    done = run("label", tmp_path / "in", tmp_path / "out", "--format", file_format)
    assert done.returncode == 0, done.stderr
    (part,) = (tmp_path / "out").glob("part-*")
    assert b"\\xff.png" in part.read_bytes()


def test_results_in_the_source_are_refused(folder: Path) -> None:
    done = run("label", folder, folder / "out")
    assert done.returncode == 2
    assert "is inside the source" in done.stderr


def test_items_are_made_ahead_in_order_and_no_thread_is_left() -> None:
    def items(until: int) -> Iterator[int]:
        yield from range(until)
        raise ValueError(until)

    before = threading.active_count()
    made = ahead(ahead(items(3)))
    assert list(islice(made, 3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="3"):
        next(made)
    early = ahead(ahead(items(9)))
    assert next(early) == 0
    early.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_results_may_be_at_a_url(folder: Path, job: Job) -> None:
    shards = find_shards(str(folder))
    results = Results("memory://results", Format.PARQUET)
    assert results.prepare("deeper", "1", names(shards)) == set()
    results.write(0, Labeller(job).label(shards[0], Count()))
    assert results.prepare("deeper", "1", names(shards)) == {0}


def test_of_models_without_thresholds_nothing_is_accepted(folder: Path, tmp_path: Path) -> None:
    """Nothing is refused either: `accepted` and `reason` are null."""
    artifact = artifacts.load(COMMITTED_MODELS / "deeper")
    calibration = artifact.card.calibration.model_copy(update={"acceptance": None})
    card = artifact.card.model_copy(update={"calibration": calibration})
    job = Job(artifacts.Artifact(card, artifact.onnx), Provider.CPU, 100_000, 1_000_000)
    (shard,) = find_shards(str(folder))
    Results(str(tmp_path / "out"), Format.PARQUET).prepare("deeper", "1", names([shard]))
    Results(str(tmp_path / "out"), Format.PARQUET).write(0, Labeller(job).label(shard, Count()))
    rows = labelled(tmp_path / "out")
    assert [(row["accepted"], row["reason"]) for row in rows] == [(None, None)] * 6


@pytest.mark.parametrize(
    "module", ["serving.service", "serving.offline.engines", "serving.__main__"]
)
def test_serving_imports_no_torch_and_no_training(module: str) -> None:
    unwanted = {"torch", "training", "pyarrow", "ray"}
    code = f"import sys, {module}; print(sorted(sys.modules.keys() & {unwanted}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
