import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from examples import notebook
from tests.training.conftest import drawn_digits
from training import networks
from training.evaluation import accuracy
from training.fit import CheckpointError, Learner, Run, fit, reproducible, schedule
from training.networks import build, normalise
from training.recipes import Adam, Muon, Recipe, RecipeName, RMSprop, recipe_for

CPU = torch.device("cpu")


# The strong recipe with all its parts, but quick.
QUICK = replace(recipe_for("baseline", "strong"), epochs=8, batch_size=64)


def silent() -> Run:
    return Run(StringIO(), Console(file=StringIO()))


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., nn.Module]:
    def train(
        name: str,
        recipe: Recipe,
        seed: int = 0,
        count: int = 1_000,
        *,
        start: nn.Module | None = None,
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
            start=None if start is None else start.state_dict(),
            resume=resume,
        )
        return network

    return train


def weights(network: nn.Module) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in network.state_dict().values())


@pytest.mark.parametrize("name", ["baseline", "deeper", "dropout"])
@pytest.mark.parametrize("recipe", ["notebook", "strong"])
def test_one_seed_makes_one_model_bit_for_bit(
    name: str, recipe: RecipeName, train: Callable[..., nn.Module]
) -> None:
    recipe_ = replace(recipe_for(name, recipe), epochs=2, dropout=0.5)
    first, same, other = (weights(train(name, recipe_, seed)) for seed in (0, 0, 1))
    assert first == same
    assert first != other


@pytest.mark.parametrize("recipe", [recipe_for("baseline", "notebook"), QUICK])
def test_training_learns(recipe: Recipe, train: Callable[..., nn.Module]) -> None:
    network = train("baseline", recipe)
    assert accuracy(network, drawn_digits(500, seed=7)) > 0.9


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
    # Resuming a finished training still returns the network.
    assert weights(train("dropout", recipe, resume=True)) == expected


def test_another_trainings_checkpoint_is_refused(train: Callable[..., nn.Module]) -> None:
    train("baseline", replace(QUICK, epochs=1))
    with pytest.raises(CheckpointError, match="another recipe"):
        train("baseline", replace(QUICK, epochs=2), resume=True)
    with pytest.raises(CheckpointError, match="another recipe"):
        train("baseline", replace(QUICK, epochs=1), seed=1, resume=True)
    with pytest.raises(CheckpointError, match="other digits"):
        train("baseline", replace(QUICK, epochs=1), count=900, resume=True)


def test_a_training_goes_on_from_the_weights_it_is_given(train: Callable[..., nn.Module]) -> None:
    torch.manual_seed(3)
    start = build("baseline", 0.0)
    still = replace(QUICK, epochs=1, optimizer=Adam(learning_rate=0.0))
    assert weights(train("baseline", still, start=start)) == weights(start)
    with pytest.raises(CheckpointError):
        train("baseline", still, resume=True)


@pytest.mark.parametrize("name", ["baseline", "deeper", "dropout"])
def test_the_example_trains_to_the_same_weights(name: str, train: Callable[..., nn.Module]) -> None:
    digits = drawn_digits(300, 1)
    example = notebook.train(name, normalise(digits.images), digits.labels, seed=3, epochs=2)
    ours = train(name, replace(recipe_for(name, "notebook"), epochs=2), seed=3, count=300)
    for one, other in zip(example.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    right = notebook.accuracy(example, normalise(digits.images), digits.labels)
    assert right == accuracy(ours, digits)


Step = Callable[[Tensor, Tensor], Tensor]  # a parameter and its gradient -> the parameter


def adam_by_hand(recipe: Adam) -> Step:
    """Return the step of Kingma and Ba's algorithm 1, for one parameter."""
    t, m, v = 0, torch.zeros(()), torch.zeros(())
    b1, b2 = recipe.betas

    def step(p: Tensor, g: Tensor) -> Tensor:
        nonlocal t, m, v
        t, m, v = t + 1, b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        moved = recipe.learning_rate * (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + 1e-8)
        return p - moved

    return step


def rmsprop_by_hand(recipe: RMSprop) -> Step:
    v = torch.zeros(())

    def step(p: Tensor, g: Tensor) -> Tensor:
        nonlocal v
        v = 0.99 * v + 0.01 * g**2
        return p - recipe.learning_rate * g / (v.sqrt() + 1e-8)

    return step


def muon_by_hand(recipe: Muon) -> Step:
    """Return Jordan et al.'s step: momentum, then a matrix with singular values of about 1."""
    momentum = torch.zeros(())

    def step(p: Tensor, g: Tensor) -> Tensor:
        nonlocal momentum
        momentum = recipe.momentum * momentum + (1 - recipe.momentum) * g
        update = (1 - recipe.momentum) * g + recipe.momentum * momentum
        x = update.bfloat16()
        x = x / x.norm()
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
        rate = recipe.learning_rate * max(1, p.shape[0] / p.shape[1]) ** 0.5
        moved: Tensor = (1 - recipe.learning_rate * recipe.weight_decay) * p - rate * x.float()
        return moved

    return step


def by_hand(optimizer: Adam | RMSprop | Muon, name: str) -> Step:
    match optimizer:
        case Adam():
            return adam_by_hand(optimizer)
        case RMSprop():
            return rmsprop_by_hand(optimizer)
        case Muon():
            if name in ("fc1.weight", "fc2.weight"):
                return muon_by_hand(optimizer)
            return adam_by_hand(optimizer.rest)


@pytest.mark.parametrize(
    ("optimizer", "tolerance"),
    [
        (Adam(), 1e-3),
        (RMSprop(), 1e-3),
        (Muon(momentum=0.5, weight_decay=2.0), 0.1),
    ],  # Muon computes in bfloat16
)
def test_an_optimizer_trains_as_written_out_by_hand(
    optimizer: Adam | RMSprop | Muon, tolerance: float, train: Callable[..., nn.Module]
) -> None:
    recipe = Recipe("notebook", optimizer, epochs=1, batch_size=8)
    trained = train("baseline", recipe, count=20)

    torch.manual_seed(0)
    network = build("baseline", 0.0)
    fresh = [p.clone() for p in network.parameters()]
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))  # epoch 1 of seed 0
    data = drawn_digits(20, 1)[order]
    steps = {name: by_hand(optimizer, name) for name, _ in network.named_parameters()}
    for start in (0, 8, 16):
        x = (data.images[start : start + 8].reshape(-1, 784) / 255 - 0.5) / 0.5
        network.zero_grad()
        nn.CrossEntropyLoss()(network(x), data.labels[start : start + 8]).backward()
        with torch.no_grad():
            for name, p in network.named_parameters():
                assert p.grad is not None
                p.copy_(steps[name](p, p.grad))
    both = zip(network.parameters(), trained.parameters(), fresh, strict=True)
    for mine, theirs, before in both:
        assert (mine - theirs).norm() < tolerance * (theirs - before).norm()


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, 2, 9), nn.Flatten(), nn.Linear(800, 10)],
        [nn.Linear(784, 10)],
        [nn.Linear(784, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)],
    ],
)
def test_muon_trains_all_weights_of_any_network(
    layers: list[nn.Module], train: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "NETWORKS", {"mine": lambda _: nn.Sequential(*layers)})
    before = {name: p.clone() for name, p in build("mine", 0.0).named_parameters()}
    trained = train("mine", replace(QUICK, epochs=2), count=200)
    for name, parameter in trained.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_the_learning_rate_goes_up_then_down_to_zero() -> None:
    factors = [schedule(0.05, 200, step) for step in range(201)]
    assert factors[0] == factors[200] == 0
    assert factors[10] == max(factors) == 1
    assert factors[5] == pytest.approx(0.5)
    assert factors[105] == pytest.approx(0.5)


def test_a_recipe_with_a_warm_up_is_scheduled(train: Callable[..., nn.Module]) -> None:
    """The first step has learning rate 0; one epoch of one batch has no other step."""
    recipe = replace(QUICK, epochs=1, augmentation=None)
    torch.manual_seed(0)
    fresh = weights(build("baseline", 0.0))
    assert weights(train("baseline", recipe, count=64)) == fresh
    assert weights(train("baseline", replace(recipe, warmup=None), count=64)) != fresh


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def settings() -> dict[str, object]:
    return {
        "threads": torch.get_num_threads(),
        "denormals": torch.tensor(1e-40).mul(1).item(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "random numbers": torch.get_rng_state().tolist(),
        "environment": dict(os.environ),
    }


@pytest.mark.usefixtures("two_threads")
def test_training_leaves_pytorchs_settings_as_they_were(train: Callable[..., nn.Module]) -> None:
    torch.manual_seed(12)
    before = settings()
    train("baseline", replace(QUICK, epochs=1), count=100)
    assert settings() == before
    with pytest.raises(CheckpointError):
        train("baseline", replace(QUICK, epochs=2), count=100, resume=True)
    assert settings() == before


@pytest.mark.usefixtures("two_threads")
def test_what_is_reproducible_may_be_inside_another() -> None:
    with reproducible():
        inside = settings()
        with reproducible():
            torch.rand(1)
        assert settings() == inside
    assert inside["threads"] == 1
    assert inside["denormals"] == 0
    assert inside["deterministic"] is True


def test_the_loss_is_recorded_every_hundred_batches_and_shown(tmp_path: Path) -> None:
    metrics, shown = StringIO(), StringIO()
    recipe = Recipe("notebook", Adam(), epochs=2, batch_size=8)
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
