import json
from io import StringIO
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import confusion_matrix
from torch import Tensor, nn

from tests import drawn
from training.dataset import Digits
from training.fit import build, evaluate, expected_calibration_error, fit, torch_predict
from training.recipes import RECIPES, NetworkName, Recipe
from training.runs import Run

CPU = torch.device("cpu")


def digits(count: int, seed: int) -> Digits:
    images, labels = drawn.digits(count, seed)
    return Digits(torch.from_numpy(images), torch.from_numpy(labels), torch.zeros(count))


def train(name: NetworkName, recipe: Recipe, seed: int = 0, count: int = 1_000) -> nn.Module:
    run = Run(StringIO(), Console(file=StringIO()))
    return fit(name, recipe, digits(count, 1), seed=seed, device=CPU, run=run)


def weights(network: nn.Module) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in network.state_dict().values())


@pytest.mark.parametrize("name", ["baseline", "deeper", "dropout"])
def test_one_seed_makes_one_model_bit_for_bit(name: NetworkName) -> None:
    recipe = RECIPES["notebook"][name]
    first, same, other = (weights(train(name, recipe, seed)) for seed in (0, 0, 1))
    assert first == same
    assert first != other


def test_training_learns() -> None:
    network = train("baseline", RECIPES["notebook"]["baseline"])
    unseen = digits(500, seed=7)
    assert evaluate(torch_predict(network), unseen).accuracy > 0.9


def test_a_trained_network_no_longer_drops() -> None:
    network = train("dropout", RECIPES["notebook"]["dropout"])
    predict = torch_predict(network)
    images = digits(50, seed=7).images
    assert np.array_equal(predict(images), predict(images))


def test_adam_trains_as_written_out_by_hand() -> None:
    recipe = Recipe("notebook", "adam", epochs=1, batch_size=8)
    trained = train("baseline", recipe, count=20)

    torch.manual_seed(0)
    network = build("baseline", recipe)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    data = digits(20, 1)[order]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    for start in (0, 8, 16):
        x = (data.images[start : start + 8].reshape(-1, 784) / 255 - 0.5) / 0.5
        optimizer.zero_grad()
        nn.CrossEntropyLoss()(network(x), data.labels[start : start + 8]).backward()
        optimizer.step()
    for mine, theirs in zip(network.parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_loss_is_recorded_every_hundred_batches_and_shown() -> None:
    metrics, shown = StringIO(), StringIO()
    recipe = Recipe("notebook", "adam", epochs=2, batch_size=8)
    run = Run(metrics, Console(file=shown))
    fit("baseline", recipe, digits(900, 1), seed=3, device=CPU, run=run)

    events: list[dict[str, Any]] = [json.loads(line) for line in metrics.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["recipe", "loss", "loss", "fitted"]
    assert events[0]["seed"] == 3
    assert events[0]["epochs"] == 2
    first, second = events[1:3]
    assert (first["epoch"], first["batch"]) == (1, 100)
    assert (second["epoch"], second["batch"]) == (2, 100)
    assert second["loss"] < first["loss"] < 2.5
    assert f"epoch 1, batch 100, loss {first['loss']:.4f}" in shown.getvalue()


def test_evaluation_counts_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(0)
    data = digits(2_500, seed=3)
    probabilities = rng.dirichlet(np.ones(10), size=2_500).astype(np.float32)
    rows = iter(np.split(probabilities, [1_000, 2_000]))

    def predict(_: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
        return next(rows)

    result = evaluate(predict, data)
    expected = confusion_matrix(data.labels.numpy(), probabilities.argmax(axis=1))
    assert np.array_equal(result.confusion, expected)
    assert result.correct == expected.trace()
    assert result.total == 2_500
    assert result.accuracy == result.correct / 2_500


def test_calibration_error_of_a_worked_case() -> None:
    # Two bins of the fifteen: 0.4 to 0.4667 with confidence 0.45 and half right, and the last
    # with confidence 1.0 and all right; weights 2/4 each.
    confidence = np.array([0.45, 0.45, 1.0, 1.0], np.float32)
    correct = np.array([True, False, True, True])
    error = expected_calibration_error(confidence, correct)
    assert error == pytest.approx(0.5 * 0.05 + 0.5 * 0)


def test_a_confidence_on_a_bins_edge_belongs_to_the_lower_bin() -> None:
    # In one bin the two would cancel out: (0.5 - 0) + (0.6 - 1) is not 0.5 and 0.4 apart.
    confidence = np.array([0.5, 0.6], np.float32)
    correct = np.array([False, True])
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx(0.45)
