"""A trained network becomes `models/<name>/`: ONNX, TorchScript and the card, checked and whole.

The exported function takes `images`, uint8 `[N, 28, 28]` with 255 for ink. It returns `logits` and
`probabilities`, float32 `[N, 10]` each, and `typicality`, float32 `[N]`. The normalisation is
folded into the first layer, so nobody can feed it wrongly scaled pixels, and the temperature is
inside, so the probabilities are calibrated.
"""

import copy
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training import torchscript
from training.calibration import fit_acceptance, fit_temperature
from training.dataset import Digits
from training.evaluation import Evaluation, Outputs, Predict, evaluate_splits, predict_all
from training.learner import History
from training.networks import CLASSES, MEAN, STD, normalise
from training.recipes import ACCEPTANCE, TYPICALITY, NetworkName, Recipe
from training.rejection import measure_rejection

ONNX_FILE = "model.onnx"
TORCHSCRIPT_FILE = "model.torchscript.pt"
CARD_FILE = "card.json"

OUTPUTS = ("logits", "probabilities", "typicality")

DECIMALS = 4  # of what the card has for charts

PARITY_DIGITS = 1_000
PARITY_BATCHES = (1, 7, 1_000)
PARITY_TOLERANCE = 1e-4  # the largest difference of two logits


class ExportError(Exception):
    """The exported files do not do what the network does; nothing was written."""


@dataclass(frozen=True)
class Trained:
    """A trained network and what its card has to say of the training."""

    name: NetworkName
    network: nn.Module
    recipe: Recipe
    history: History
    seed: int
    device: str


class ServedNetwork(nn.Module):
    """The network as it is served: from bytes of pixels to all that is answered.

    Args:
        network: From normalised pixels to logits.
        temperature: What the logits are divided by.
        typicality: From pixels, float32 `[N, 784]` in 0…255, to float32 `[N]`.
    """

    temperature: Tensor

    def __init__(self, network: nn.Module, temperature: float, typicality: nn.Module) -> None:
        super().__init__()
        self.network = fold_normalisation(network)
        self.register_buffer("temperature", torch.tensor(temperature))
        self.typicality = typicality

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, probabilities and typicality."""
        pixels = images.flatten(1).float()
        logits = self.network(pixels)
        return logits, (logits / self.temperature).softmax(1), self.typicality(pixels)


def fold_normalisation(network: nn.Module) -> nn.Module:
    """Copy a network so that it takes pixels of 0…255 in place of normalised ones.

    W((x/255 - mean) / std) + b = (W / (255 std)) x + (b - W mean/std), summed over the pixels.
    """
    folded = copy.deepcopy(network)
    fc1 = cast("nn.Linear", folded.get_submodule("fc1"))
    with torch.no_grad():
        weight = fc1.weight.double()
        fc1.bias.copy_(fc1.bias.double() - weight.sum(1) * (MEAN / STD))
        fc1.weight.copy_(weight / (255 * STD))
    return folded


def export(
    trained: Trained, typicality: nn.Module, models: Path, splits: Mapping[str, Digits]
) -> tuple[dict[str, Any], dict[str, Evaluation]]:
    """Write `models/<name>/`, all of it or nothing.

    Args:
        trained: What to write.
        typicality: The module of that name in `ServedNetwork`.
        models: The folder of all artifacts.
        splits: The digits to evaluate on, by the name of their split: `train`, the one the
            network was fitted on, perhaps `validation`, on which temperature and thresholds are
            fitted, and the test splits.

    Returns:
        The card, and how the ONNX file, which is what is served, did on each split.

    Raises:
        ExportError: PyTorch, TorchScript and ONNX disagree.
    """
    validation = splits.get("validation")
    temperature = 1.0 if validation is None else _temperature(trained.network, validation)
    served = ServedNetwork(trained.network, temperature, typicality).eval()
    version = _version(served)
    test = next(name for name in splits if name.startswith("test"))
    with replacing(models / trained.name) as folder:
        torchscript.save(served, folder / TORCHSCRIPT_FILE)
        onnx.save(_onnx_model(trained, served, version, splits["train"]), folder / ONNX_FILE)
        check_parity(trained.network, folder, splits[test])

        predict = onnx_predict(folder / ONNX_FILE)
        acceptance = (
            fit_acceptance(ACCEPTANCE, predict_all(predict, validation.images))
            if validation
            else None
        )
        evaluations = evaluate_splits(predict, splits, acceptance)
        card = _card(trained, version, splits)
        card["calibration"] = {
            "temperature": temperature,
            "acceptance": asdict(acceptance) if acceptance else None,
        }
        card["evaluation"] = {name: result.to_json() for name, result in evaluations.items()}
        card["rejection"] = (
            measure_rejection(predict, acceptance, splits[test], evaluations[test].outputs)
            if acceptance
            else None
        )
        card["details"] = _details(trained.history, test, evaluations[test])
        card["sizes"] = {
            name: (folder / name).stat().st_size for name in (ONNX_FILE, TORCHSCRIPT_FILE)
        }
        card["files"] = {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in (ONNX_FILE, TORCHSCRIPT_FILE)
        }
        text = json.dumps(card, indent=2) + "\n"
        (folder / CARD_FILE).write_text(text, encoding="utf-8")
    return card, evaluations


@torch.inference_mode()
def _logits(network: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = network(normalise(images))
    return logits


def _temperature(network: nn.Module, validation: Digits) -> float:
    logits = _logits(network, validation.images).clone()
    return fit_temperature(logits, validation.labels, validation.writers)


def onnx_predict(path: Path) -> Predict:
    """Make a `Predict` of an exported ONNX file."""
    session = _session(path)

    def predict(images: Tensor) -> Outputs:
        return Outputs(*session.run(["probabilities", "typicality"], {"images": images.numpy()}))

    return predict


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # more would only wait for each other in so small a network
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def check_parity(network: nn.Module, folder: Path, digits: Digits) -> None:
    """Compare the exported files with the network they came from, on the same digits.

    Raises:
        ExportError: A logit differs by more than 1e-4, or a digit gets another class, or
            TorchScript and ONNX differ in another output.
    """
    images = digits.images[:PARITY_DIGITS]
    compiled = torchscript.load(folder / TORCHSCRIPT_FILE)
    session = _session(folder / ONNX_FILE)
    expected = _logits(network, images).numpy()
    for size in PARITY_BATCHES:
        batches = images.split(size)
        with torch.inference_mode():
            from_torchscript = [[output.numpy() for output in compiled(x)] for x in batches]
        from_onnx = [session.run(OUTPUTS, {"images": x.numpy()}) for x in batches]
        script, onnx_ = (
            [np.concatenate(output) for output in zip(*results, strict=True)]
            for results in (from_torchscript, from_onnx)
        )
        _compare_logits(expected, script[0], f"TorchScript in batches of {size}")
        _compare_logits(expected, onnx_[0], f"ONNX in batches of {size}")
        for name, one, other in zip(OUTPUTS[1:], script[1:], onnx_[1:], strict=True):
            # Not "difference > …", which would let NaN through.
            if not float(np.abs(one - other).max()) <= PARITY_TOLERANCE:
                raise ExportError(f"TorchScript and ONNX differ in {name} in batches of {size}")


def _compare_logits(expected: NDArray[np.float32], logits: NDArray[np.float32], what: str) -> None:
    difference = float(np.abs(expected - logits).max())
    if not difference <= PARITY_TOLERANCE:
        raise ExportError(f"{what}: a logit differs from PyTorch's by {difference:.2g}")
    others = int((expected.argmax(1) != logits.argmax(1)).sum())
    if others:
        raise ExportError(f"{what}: {others} digits get another class than PyTorch gives them")


def _onnx_model(
    trained: Trained, served: nn.Module, version: str, train: Digits
) -> onnx.ModelProto:
    # Two pictures in the example, because a batch of one would be taken for a constant.
    program = cast(
        "torch.onnx.ONNXProgram",
        torch.onnx.export(
            served,
            (torch.zeros(2, 28, 28, dtype=torch.uint8),),
            dynamo=True,
            dynamic_shapes={"images": {0: "N"}},
            input_names=["images"],
            output_names=list(OUTPUTS),
            verbose=False,
        ),
    )
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces, with the paths of this machine
    onnx.helper.set_model_props(
        model,
        {
            "name": trained.name,
            "version": version,
            "classes": ",".join(map(str, range(CLASSES))),
            "trained_on": f"QMNIST, {len(train)} digits of the train split",
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _version(network: nn.Module) -> str:
    """Name what is served by its numbers, so that an answer can be traced to what gave it."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:12]


def _card(trained: Trained, version: str, splits: Mapping[str, Digits]) -> dict[str, Any]:
    layers = [module for module in trained.network.children() if isinstance(module, nn.Linear)]
    return {
        "name": trained.name,
        "version": version,
        "architecture": {
            "summary": (type(trained.network).__doc__ or "").strip(),
            "layers": [layers[0].in_features, *(layer.out_features for layer in layers)],
            "parameters": sum(p.numel() for p in trained.network.parameters()),
        },
        "training": {
            "recipe": asdict(trained.recipe),
            "typicality": asdict(TYPICALITY),
            "acceptance": asdict(ACCEPTANCE),
            "seed": trained.seed,
            "device": trained.device,
            "libraries": _libraries(),
        },
        "data": {
            "source": "QMNIST",
            "splits": {
                name: {"rows": len(digits), "sha256": digits.sha256()}
                for name, digits in splits.items()
            },
        },
    }


def _details(history: History, test: str, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "split": test,
        "confusion": evaluation.confusion.tolist(),
        "reliability": [
            {
                "count": b.count,
                "confidence": round(b.confidence, DECIMALS),
                "accuracy": round(b.accuracy, DECIMALS),
            }
            for b in evaluation.reliability
        ],
        "losses": [round(loss, DECIMALS) for loss in history.losses],
        "validation_accuracies": [round(a, DECIMALS) for a in history.validation_accuracies],
    }


def _libraries() -> dict[str, str]:
    names = ("torch", "torchvision", "onnx", "onnxruntime", "onnxscript", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder` that takes its place once it is complete.

    Whenever this is interrupted, `folder` is the old one or the new one, whole; killed between
    the two renames, the old one is found under the name `.<name>-old`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    old = folder.with_name(f".{folder.name}-old")
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        new = Path(scratch) / folder.name
        new.mkdir()
        yield new
        for file in new.iterdir():
            _flush_to_disk(file)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
        if old.exists():
            shutil.rmtree(old)


def _flush_to_disk(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
