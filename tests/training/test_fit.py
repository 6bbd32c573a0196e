import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from tests.training.conftest import drawn_digits
from training.fit import accuracy, fit
from training.learner import CheckpointError, Learner, build
from training.recipes import RECIPES, NetworkName, Recipe, RecipeName
from training.runs import Run

CPU = torch.device("cpu")


# Every part of the strong recipe, in little time.
QUICK = replace(RECIPES["strong"]["baseline"], epochs=8, batch_size=64)


def silent() -> Run:
    return Run(StringIO(), Console(file=StringIO()))


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., nn.Module]:
    def train(
        name: NetworkName,
        recipe: Recipe,
        seed: int = 0,
        count: int = 1_000,
        *,
        resume: bool = False,
    ) -> nn.Module:
        network, _ = fit(
            name,
            recipe,
            drawn_digits(count, 1),
            None,
            seed=seed,
            device=CPU,
            run=silent(),
            checkpoint=tmp_path / "checkpoint.pt",
            resume=resume,
        )
        return network

    return train


def weights(network: nn.Module) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in network.state_dict().values())


@pytest.mark.parametrize("name", ["baseline", "deeper", "dropout"])
@pytest.mark.parametrize("recipe", ["notebook", "strong"])
def test_one_seed_makes_one_model_bit_for_bit(
    name: NetworkName, recipe: RecipeName, train: Callable[..., nn.Module]
) -> None:
    recipe_ = replace(RECIPES[recipe][name], epochs=2, dropout=0.5)
    first, same, other = (weights(train(name, recipe_, seed)) for seed in (0, 0, 1))
    assert first == same
    assert first != other


@pytest.mark.parametrize("recipe", [RECIPES["notebook"]["baseline"], QUICK])
def test_training_learns(recipe: Recipe, train: Callable[..., nn.Module]) -> None:
    network = train("baseline", recipe)
    assert accuracy(network, drawn_digits(500, seed=7)) > 0.9


def test_a_trained_network_no_longer_drops(train: Callable[..., nn.Module]) -> None:
    network = train("dropout", RECIPES["notebook"]["dropout"])
    x = torch.randn(50, 784)
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize("stopped_after", [1, 2])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    stopped_after: int, train: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(QUICK, epochs=3, dropout=0.5)
    expected = weights(train("dropout", recipe))

    save, saved = Learner.save, []

    def interrupted_save(self: Learner, *arguments: Any) -> None:  # noqa: ANN401
        save(self, *arguments)
        saved.append(1)
        if len(saved) == stopped_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(Learner, "save", interrupted_save)
    with pytest.raises(KeyboardInterrupt):
        train("dropout", recipe)
    monkeypatch.undo()
    assert weights(train("dropout", recipe, resume=True)) == expected
    # Nothing is left to do, and the network is there all the same.
    assert weights(train("dropout", recipe, resume=True)) == expected


def test_another_trainings_checkpoint_is_refused(train: Callable[..., nn.Module]) -> None:
    train("baseline", replace(QUICK, epochs=1))
    with pytest.raises(CheckpointError, match="another recipe"):
        train("baseline", replace(QUICK, epochs=2), resume=True)
    with pytest.raises(CheckpointError, match="another recipe"):
        train("baseline", replace(QUICK, epochs=1), seed=1, resume=True)
    with pytest.raises(CheckpointError, match="other digits"):
        train("baseline", replace(QUICK, epochs=1), count=900, resume=True)


def test_without_resume_a_training_begins_anew(train: Callable[..., nn.Module]) -> None:
    recipe = replace(QUICK, epochs=1)
    assert weights(train("baseline", recipe)) == weights(train("baseline", recipe))


def test_adam_trains_as_written_out_by_hand(train: Callable[..., nn.Module]) -> None:
    recipe = Recipe("notebook", "adam", epochs=1, batch_size=8)
    trained = train("baseline", recipe, count=20)

    torch.manual_seed(0)
    network = build("baseline", recipe)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))  # epoch 1 of seed 0
    data = drawn_digits(20, 1)[order]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    for start in (0, 8, 16):
        x = (data.images[start : start + 8].reshape(-1, 784) / 255 - 0.5) / 0.5
        optimizer.zero_grad()
        nn.CrossEntropyLoss()(network(x), data.labels[start : start + 8]).backward()
        optimizer.step()
    for mine, theirs in zip(network.parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_loss_is_recorded_every_hundred_batches_and_shown(tmp_path: Path) -> None:
    metrics, shown = StringIO(), StringIO()
    recipe = Recipe("notebook", "adam", epochs=2, batch_size=8)
    _, history = fit(
        "baseline",
        recipe,
        drawn_digits(900, 1),
        drawn_digits(100, 2),
        seed=3,
        device=CPU,
        run=Run(metrics, Console(file=shown)),
        checkpoint=tmp_path / "checkpoint.pt",
    )

    events: list[dict[str, Any]] = [json.loads(line) for line in metrics.getvalue().splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds == ["recipe", "loss", "epoch", "loss", "epoch", "fitted"]
    assert events[0]["seed"] == 3
    assert events[0]["epochs"] == 2
    first, epoch, second = events[1:4]
    assert (first["epoch"], first["batch"]) == (1, 100)
    assert (second["epoch"], second["batch"]) == (2, 100)
    assert second["loss"] < first["loss"] < 2.5
    assert epoch["loss"] == history.losses[0]
    assert epoch["validation_accuracy"] == history.validation_accuracies[0]
    assert f"epoch 1, batch 100, loss {first['loss']:.4f}" in shown.getvalue()
