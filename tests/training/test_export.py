import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix

from tests.conftest import COMMITTED_MODELS, ROOT
from tests.pictures import drawn
from training import dataset, torchscript
from training.card import DROPOUT_OFF, Trained, architecture
from training.dataset import Digits
from training.evaluation import History
from training.export import (
    ExportError,
    Normalised,
    ServedNetwork,
    check_parity,
    copy_for_comparison,
    export,
    fold_normalisation,
    onnx_predict,
    unfold_normalisation,
)
from training.networks import build, normalise
from training.recipes import recipe_for

FILES = {"card.json", "model.onnx", "model.torchscript.pt"}
NAMES = ["baseline", "deeper", "dropout"]


def fresh(name: str) -> Trained:
    torch.manual_seed(5)
    recipe = recipe_for(name, "notebook")
    history = History([0.5, 0.25], [0.9, 0.95])
    return Trained(name, build(name, recipe.dropout).eval(), recipe, history, seed=5, device="cpu")


@pytest.fixture(scope="module")
def splits(drawn_root: Path) -> dict[str, Digits]:
    return {"train": dataset.load(drawn_root, "train"), "test": dataset.load(drawn_root, "test")}


def read_card(folder: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    return card


@pytest.mark.parametrize("name", NAMES)
def test_folding_keeps_the_function(name: str) -> None:
    network = fresh(name).network.double()
    images = torch.randint(0, 256, (20, 28, 28), dtype=torch.uint8)
    pixels = images.flatten(1).double()
    expected = network((pixels / 255 - 0.5) / 0.5)
    folded = fold_normalisation(network)
    torch.testing.assert_close(folded(pixels), expected)
    for name_, weight in unfold_normalisation(folded).state_dict().items():
        torch.testing.assert_close(weight, network.state_dict()[name_])


class Skipping(torch.nn.Module):
    """Two dense layers that both take the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.short, self.long = torch.nn.Linear(784, 10), torch.nn.Linear(784, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.short(x) + self.long(x).relu()
        return logits


class Late(torch.nn.Module):
    """A convolution, then a dense layer with as many inputs as there are pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense = torch.nn.Conv2d(1, 4, 2, stride=2), torch.nn.Linear(784, 10)
        self.norm, self.dropout = torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x.view(-1, 1, 28, 28)))
        logits: torch.Tensor = self.dense(self.dropout(x.flatten(1)))
        return logits


@pytest.mark.parametrize(
    ("network", "folded_in"),
    [
        (torch.nn.Sequential(torch.nn.Linear(784, 10)), True),
        (torch.nn.Sequential(torch.nn.Linear(784, 10, bias=False)), False),
        (Skipping(), False),
        (Late(), False),
    ],
)
def test_any_network_takes_bytes_once_it_is_folded(
    network: torch.nn.Module, folded_in: bool
) -> None:
    images = torch.randint(0, 256, (20, 28, 28), dtype=torch.uint8)
    folded = fold_normalisation(network)
    assert isinstance(folded, Normalised) != folded_in
    network.eval()
    torch.testing.assert_close(
        folded(images.flatten(1).float()), network(normalise(images)), rtol=1e-3, atol=1e-4
    )
    unfolded = unfold_normalisation(folded)
    for name, tensor in unfolded.state_dict().items():
        torch.testing.assert_close(tensor, network.state_dict()[name])


def test_a_network_that_cannot_be_exported_is_a_message(
    tmp_path: Path, splits: dict[str, Digits]
) -> None:
    class Untypical(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(pixels.numpy().mean(1))

    with pytest.raises(ExportError, match="PyTorch cannot export the network baseline"):
        export(fresh("baseline"), Untypical(), tmp_path, splits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_an_artifact_is_what_the_contract_says(name: str, drawn_models: Path) -> None:
    folder = drawn_models / name
    assert {file.name for file in folder.iterdir()} == FILES
    card = read_card(folder)
    assert card["name"] == name
    for file in ("model.onnx", "model.torchscript.pt"):
        assert card["files"][file] == hashlib.sha256((folder / file).read_bytes()).hexdigest()
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    assert all(not tensor.external_data for tensor in model.graph.initializer)
    assert {p.key: p.value for p in model.metadata_props} == {
        "name": name,
        "version": card["version"],
        "classes": "0,1,2,3,4,5,6,7,8,9",
        "trained_on": "QMNIST, 2000 digits of the train split",
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_card_counts_what_the_onnx_file_gets_right(
    name: str, drawn_models: Path, splits: dict[str, Digits]
) -> None:
    card = read_card(drawn_models / name)
    predict = onnx_predict(drawn_models / name / "model.onnx")
    for split, digits in splits.items():
        predicted = predict(digits.images).digits
        labels = digits.labels.numpy()
        result = card["evaluation"][split]
        assert result["correct"] == int((predicted == labels).sum())
        assert result["total"] == len(digits) == card["data"]["splits"][split]["rows"]
        assert result["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
        wrong = {str(c): int(((labels == c) & (predicted != c)).sum()) for c in range(10)}
        assert {str(c["digit"]): c["errors"] for c in result["errors_by_class"]} == wrong


@pytest.mark.parametrize("name", NAMES)
def test_the_card_has_what_its_charts_show(
    name: str, drawn_models: Path, splits: dict[str, Digits]
) -> None:
    card = read_card(drawn_models / name)
    details, folder = card["details"], drawn_models / name
    outputs = onnx_predict(folder / "model.onnx")(splits["test"].images)
    labels = splits["test"].labels.numpy()
    assert details["split"] == "test"
    assert details["confusion"] == confusion_matrix(labels, outputs.digits).tolist()
    assert sum(b["count"] for b in details["reliability"]) == len(labels)
    assert len(details["losses"]) == card["training"]["recipe"]["epochs"]
    assert card["sizes"] == {
        file: (folder / file).stat().st_size for file in ("model.onnx", "model.torchscript.pt")
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_cards_agree_with_themselves(name: str) -> None:
    card = read_card(COMMITTED_MODELS / name)
    result = card["evaluation"][card["details"]["split"]]
    confusion = np.array(card["details"]["confusion"])
    assert confusion.trace() == result["correct"]
    assert confusion.sum() == result["total"]
    wrong = confusion.sum(axis=1) - confusion.diagonal()
    assert [c["errors"] for c in result["errors_by_class"]] == wrong.tolist()
    assert card["details"]["validation_accuracies"][-1] == pytest.approx(
        card["evaluation"]["validation"]["accuracy"], abs=1e-3
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_torchscript_and_onnx_agree(name: str, size: int, models: Path) -> None:
    images = torch.from_numpy(drawn.digits(size, seed=4)[0])
    compiled = torchscript.load(models / name / "model.torchscript.pt")
    with torch.inference_mode():
        _, probabilities, typicality = compiled(images)
    outputs = onnx_predict(models / name / "model.onnx")(images)
    np.testing.assert_allclose(outputs.probabilities, probabilities.numpy(), atol=1e-5)
    np.testing.assert_allclose(outputs.typicality, typicality.numpy(), atol=1e-4)
    assert outputs.typicality.shape == (size,)


class Ink(torch.nn.Module):
    """A stand-in for the typicality network: the amount of ink."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean(1) / 255


def test_a_disagreement_writes_nothing(
    tmp_path: Path, splits: dict[str, Digits], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unfolded(network: torch.nn.Module) -> torch.nn.Module:
        return network

    monkeypatch.setattr("training.export.fold_normalisation", unfolded)
    with pytest.raises(ExportError, match="differs from PyTorch's by"):
        export(fresh("baseline"), Ink(), tmp_path, splits)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def baseline(drawn_models: Path) -> torch.nn.Module:
    """The network behind the files in `drawn_models`, with its normalisation unfolded again."""
    compiled = torchscript.load(drawn_models / "baseline" / "model.torchscript.pt")
    network = fresh("baseline").network
    network.load_state_dict(
        {
            name.removeprefix("network."): tensor
            for name, tensor in compiled.state_dict().items()
            if name.startswith("network.")
        }
    )
    with torch.no_grad():
        weight = network.get_parameter("fc1.weight").mul_(255 * 0.5)
        network.get_parameter("fc1.bias").add_(weight.sum(1))
    return network


def test_another_class_is_a_disagreement_however_close_the_logits(
    baseline: torch.nn.Module,
    drawn_models: Path,
    splits: dict[str, Digits],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.export.PARITY_TOLERANCE", 1e9)
    with torch.no_grad():
        baseline.get_parameter("fc3.bias")[3] += 100
    with pytest.raises(ExportError, match="digits get another class"):
        check_parity(baseline, drawn_models / "baseline", splits["test"])


def test_nan_is_a_disagreement(
    baseline: torch.nn.Module, drawn_models: Path, splits: dict[str, Digits]
) -> None:
    with torch.no_grad():
        baseline.get_parameter("fc3.bias")[0] = float("nan")
    with pytest.raises(ExportError, match="nan"):
        check_parity(baseline, drawn_models / "baseline", splits["test"])


def test_a_copy_for_comparison_answers_the_same_under_its_own_name(
    drawn_models: Path, splits: dict[str, Digits], tmp_path: Path
) -> None:
    copy_for_comparison(drawn_models / "deeper", tmp_path / "other")
    assert {file.name for file in (tmp_path / "other").iterdir()} == FILES
    card, original = read_card(tmp_path / "other"), read_card(drawn_models / "deeper")
    for file, digest in card["files"].items():
        assert hashlib.sha256((tmp_path / "other" / file).read_bytes()).hexdigest() == digest
    of_files = {key: card[key] for key in ("files", "sizes")}
    assert card == original | {"name": "other", "comparison": True} | of_files
    model = onnx.load(tmp_path / "other" / "model.onnx")
    assert {prop.key: prop.value for prop in model.metadata_props}["name"] == "other"
    images = splits["test"].images
    copied = onnx_predict(tmp_path / "other" / "model.onnx")(images)
    copied_from = onnx_predict(drawn_models / "deeper" / "model.onnx")(images)
    assert np.array_equal(copied.probabilities, copied_from.probabilities)


def test_what_is_served_answers_with_three_things() -> None:
    trained = fresh("deeper")
    images = torch.randint(0, 256, (7, 28, 28), dtype=torch.uint8)
    with torch.inference_mode():
        logits, probabilities, typicality = ServedNetwork(trained.network, 2.0, Ink())(images)
        torch.testing.assert_close(logits, trained.network(normalise(images)))
    torch.testing.assert_close(probabilities, (logits / 2).softmax(1))
    torch.testing.assert_close(typicality, images.float().mean((1, 2)) / 255)


def test_without_validation_digits_nothing_is_accepted_or_refused(drawn_models: Path) -> None:
    card = read_card(drawn_models / "baseline")
    assert card["calibration"] == {"temperature": 1.0, "acceptance": None}
    assert card["rejection"] is None
    assert card["training"]["typicality"] is None
    assert "accepted" not in card["evaluation"]["test"]


def test_without_a_threshold_on_it_no_typicality_is_learned(
    drawn_models: Path, splits: dict[str, Digits]
) -> None:
    outputs = onnx_predict(drawn_models / "baseline" / "model.onnx")(splits["test"].images)
    assert not outputs.typicality.any()


def test_a_card_says_where_dropout_was_off() -> None:
    summaries = {
        rate: architecture(build("dropout", dropout=rate))["summary"] for rate in (0.0, 0.5)
    }
    assert summaries[0.0] == f"{summaries[0.5]} {DROPOUT_OFF}"
    assert DROPOUT_OFF not in architecture(build("deeper", dropout=0.0))["summary"]


@pytest.mark.parametrize("name", NAMES)
def test_the_files_do_not_tell_where_they_were_made(name: str, drawn_models: Path) -> None:
    for folder in (drawn_models / name, COMMITTED_MODELS / name):
        for file in FILES:
            content = (folder / file).read_bytes()
            assert not re.findall(rb"(?<![\w.-])/[\w.-]+/[\w./-]+\.py", content)
            assert str(ROOT).encode() not in content
