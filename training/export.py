"""Exports a trained network to `models/<name>/`: ONNX, TorchScript and the card, checked.

The exported function takes `images`, uint8 `[N, 28, 28]` with 255 for ink. It returns `logits` and
`probabilities`, float32 `[N, 10]` each, and `typicality`, float32 `[N]`. It includes the
normalisation, so nobody can feed it wrongly scaled pixels, and the temperature, so the
probabilities are calibrated.
"""

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from artifact import CARD_FILE, INPUT, ONNX_FILE, OUTPUTS, TORCHSCRIPT_FILE
from training import card, torchscript
from training.card import Trained, replacing
from training.dataset import Digits, headline
from training.evaluation import (
    Evaluation,
    Outputs,
    Predict,
    evaluate_splits,
    fit_acceptance,
    fit_temperature,
    predict_all,
)
from training.fit import reproducible
from training.networks import CLASSES, MEAN, PIXELS, STD, fingerprint, normalise
from training.recipes import CALIBRATION
from training.synthetic.rejection import measure_rejection

# A version is derived from all weights, so an answer can be traced to the model that gave it.
VERSION_DIGITS = 12
PARITY_DIGITS = 1_000
PARITY_BATCHES = (1, 7, 1_000)
PARITY_TOLERANCE = 1e-4  # largest difference between two logits
PROBES = 8  # random pictures that show whether folding kept the function
PROBE_TOLERANCE = 1e-3  # absolute and relative; a wrong folding is off by far more


class ExportError(Exception):
    """The network cannot be exported, or the files compute something else; nothing was written."""


class ServedNetwork(nn.Module):
    """The network as it is served, from bytes to all outputs.

    Args:
        network: Turns normalised pixels into logits.
        temperature: Divides the logits.
        typicality: Turns pixels, float32 `[N, 784]` in 0…255, into float32 `[N]`.
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


class NoTypicality(nn.Module):
    """The typicality of a model that has no threshold for it: 0 for every picture."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Return float32 `[N]` for pixels, float32 `[N, 784]`."""
        return pixels.new_zeros(pixels.shape[0])


class Normalised(nn.Module):
    """A network and the normalisation before it.

    Args:
        network: Turns normalised pixels into logits.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.scale = 1 / (255 * STD)
        self.shift = MEAN / STD

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits for pixels, float32 `[N, 784]` in 0…255."""
        logits: Tensor = self.network(pixels * self.scale - self.shift)
        return logits


def fold_normalisation(network: nn.Module) -> nn.Module:
    """Copy a network so that it takes pixels of 0…255 instead of normalised ones.

    If its first layer is `nn.Linear`, the normalisation is folded into it:
    W((x/255 - mean) / std) + b = (W / (255 std)) x + (b - W mean/std), summed over the pixels.
    Otherwise it remains a step of its own.
    """
    network = copy.deepcopy(network).eval()
    normalised = Normalised(network)
    folded = copy.deepcopy(network)
    layer = _linear_layer(folded)
    if layer is None:
        return normalised
    with torch.no_grad():
        weight = layer.weight.double()
        layer.bias.copy_(layer.bias.double() - weight.sum(1) * (MEAN / STD))
        layer.weight.copy_(weight / (255 * STD))
        probes = torch.rand(PROBES, PIXELS, generator=torch.Generator().manual_seed(0))
        pixels = 255 * probes.to(layer.weight.dtype)
        same = torch.allclose(folded(pixels), normalised(pixels), PROBE_TOLERANCE, PROBE_TOLERANCE)
    return folded if same else normalised  # different if that layer is not alone in taking pixels


def unfold_normalisation(folded: nn.Module) -> nn.Module:
    """Copy a network so that it takes normalised pixels again: undo `fold_normalisation`."""
    network = copy.deepcopy(folded)
    if isinstance(network, Normalised):
        return network.network
    layer = cast("nn.Linear", _linear_layer(network))
    with torch.no_grad():
        weight = layer.weight.double() * (255 * STD)
        layer.bias.copy_(layer.bias.double() + weight.sum(1) * (MEAN / STD))
        layer.weight.copy_(weight)
    return network


def _linear_layer(network: nn.Module) -> nn.Linear | None:
    """Find the first dense layer with a bias that could take the pixels."""
    for module in network.modules():
        if isinstance(module, nn.Linear) and module.in_features == PIXELS:
            return module if module.bias is not None else None
    return None


@reproducible()
def export(
    trained: Trained, typicality: nn.Module | None, models: Path, splits: Mapping[str, Digits]
) -> tuple[dict[str, Any], dict[str, Evaluation]]:
    """Write `models/<name>/`, all of it or nothing.

    Args:
        trained: The network and its training.
        typicality: The module of that name in `ServedNetwork`; `None` if no digits were held out
            to set its threshold on.
        models: The folder of all artifacts.
        splits: The digits to evaluate on, by the name of their split: `train`, which the network
            was fitted on, the test splits, and perhaps `validation`, on which temperature and
            thresholds are fitted, `extra_train` and `extra_validation`.

    Returns:
        The card, and the evaluation of the ONNX file, which is what is served, on each split.

    Raises:
        ExportError: The network cannot be exported, or PyTorch, TorchScript and ONNX disagree.
    """
    validation, test = splits.get("validation"), headline(splits)
    temperature = 1.0 if validation is None else _temperature(trained.network, validation)
    served = ServedNetwork(trained.network, temperature, typicality or NoTypicality()).eval()
    version = fingerprint(served.state_dict())[:VERSION_DIGITS]
    with replacing(models / trained.name) as folder:
        try:
            torchscript.save(served, folder / TORCHSCRIPT_FILE)
            onnx.save(_onnx_model(trained, served, version, splits), folder / ONNX_FILE)
        except (RuntimeError, TypeError, ValueError) as error:  # from PyTorch's compilers
            raise ExportError(
                f"PyTorch cannot export the network {trained.name}. Change its forward, then run "
                f"the same command with --resume to export it. {error}"
            ) from error
        check_parity(trained.network, folder, splits[test])

        predict = onnx_predict(folder / ONNX_FILE)
        acceptance = rejection = None
        if validation is not None:
            acceptance = fit_acceptance(CALIBRATION, predict_all(predict, validation.images))
        evaluations = evaluate_splits(predict, splits, acceptance, temperature)
        # This takes several times as long as fine-tuning; `refusal` can measure it later.
        if acceptance is not None and trained.base is None:
            outputs = evaluations[test].outputs
            rejection = measure_rejection(predict, acceptance, splits[test], outputs)
        described = card.describe(
            trained, version, splits, evaluations, temperature, acceptance, rejection
        )
        card.write(described, folder)
    return described, evaluations


def copy_for_comparison(source: Path, target: Path) -> None:
    """Copy an artifact, name the copy after its folder, and mark it as one for comparison.

    Args:
        source: The artifact's folder.
        target: The copy's folder, which is replaced as a whole.
    """
    described = json.loads((source / CARD_FILE).read_text(encoding="utf-8"))
    described |= {"name": target.name, "comparison": True}
    model = onnx.load(source / ONNX_FILE)
    properties = {prop.key: prop.value for prop in model.metadata_props}
    onnx.helper.set_model_props(model, properties | {"name": target.name})
    with replacing(target) as folder:
        shutil.copyfile(source / TORCHSCRIPT_FILE, folder / TORCHSCRIPT_FILE)
        onnx.save(model, folder / ONNX_FILE)
        card.write(described, folder)


@torch.inference_mode()
def _logits(network: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = network(normalise(images))
    return logits


def _temperature(network: nn.Module, validation: Digits) -> float:
    logits = _logits(network, validation.images).clone()
    return fit_temperature(CALIBRATION, logits, validation.labels, validation.writers)


def onnx_predict(path: Path) -> Predict:
    """Return a `Predict` for an exported ONNX file."""
    session = _session(path)

    def predict(images: Tensor) -> Outputs:
        return Outputs(*session.run(["probabilities", "typicality"], {INPUT: images.numpy()}))

    return predict


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # A second thread costs a network this small more than it saves.
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def check_parity(network: nn.Module, folder: Path, digits: Digits) -> None:
    """Compare the exported files with the network they came from, on the same digits.

    Raises:
        ExportError: A logit differs by more than 1e-4, a digit gets another class, or TorchScript
            and ONNX differ in another output.
    """
    images = digits.images[:PARITY_DIGITS]
    compiled = torchscript.load(folder / TORCHSCRIPT_FILE)
    session = _session(folder / ONNX_FILE)
    expected = _logits(network, images).numpy()
    for size in PARITY_BATCHES:
        batches = images.split(size)
        with torch.inference_mode():
            from_torchscript = [[output.numpy() for output in compiled(x)] for x in batches]
        from_onnx = [session.run(OUTPUTS, {INPUT: x.numpy()}) for x in batches]
        script, onnx_ = (
            [np.concatenate(output) for output in zip(*results, strict=True)]
            for results in (from_torchscript, from_onnx)
        )
        _compare_logits(expected, script[0], f"TorchScript in batches of {size}")
        _compare_logits(expected, onnx_[0], f"ONNX in batches of {size}")
        for name, one, other in zip(OUTPUTS[1:], script[1:], onnx_[1:], strict=True):
            # Not "difference > …", which NaN would pass.
            if not float(np.abs(one - other).max()) <= PARITY_TOLERANCE:
                raise ExportError(f"TorchScript and ONNX differ in {name} in batches of {size}")


def _compare_logits(expected: NDArray[np.float32], logits: NDArray[np.float32], what: str) -> None:
    difference = float(np.abs(expected - logits).max())
    if not difference <= PARITY_TOLERANCE:
        raise ExportError(f"{what}: a logit differs from PyTorch's by {difference:.2g}")
    others = int((expected.argmax(1) != logits.argmax(1)).sum())
    if others:
        raise ExportError(f"{what}: {others} digits get another class than in PyTorch")


def _onnx_model(
    trained: Trained, served: nn.Module, version: str, splits: Mapping[str, Digits]
) -> onnx.ModelProto:
    # Two pictures, because the exporter would take a batch of one for a constant.
    program = cast(
        "torch.onnx.ONNXProgram",
        torch.onnx.export(
            served,
            (torch.zeros(2, 28, 28, dtype=torch.uint8),),
            dynamo=True,
            dynamic_shapes={INPUT: {0: "N"}},
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            verbose=False,
        ),
    )
    trained_on = f"{trained.source}, {len(splits['train'])} digits of the train split"
    if "extra_train" in splits:
        trained_on += f"; {len(splits['extra_train'])} extra pictures"
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces, which contain this machine's paths
    onnx.helper.set_model_props(
        model,
        {
            "name": trained.name,
            "version": version,
            "classes": ",".join(map(str, range(CLASSES))),
            "trained_on": trained_on,
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return model
