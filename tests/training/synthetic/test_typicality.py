from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Generator

from tests.training.conftest import drawn_digits
from training.dataset import Digits
from training.evaluation import auroc
from training.recipes import TYPICALITY
from training.synthetic import negatives
from training.synthetic.arrival import arrive
from training.synthetic.negatives import KINDS, Kind
from training.synthetic.typicality import Typicality, as_they_arrive, fit_typicality

QUICK = replace(TYPICALITY, epochs=6, batch_size=128, warmup_steps=10)


def fitted(cache: Path) -> Typicality:
    return fit_typicality(
        QUICK, drawn_digits(1_000, seed=1), cache=cache, console=Console(file=StringIO())
    )


def weights(network: Typicality) -> list[float]:
    return torch.cat([p.flatten() for p in network.parameters()]).tolist()


@torch.inference_mode()
def scores(network: Typicality, images: torch.Tensor) -> NDArray[np.float32]:
    typicality: NDArray[np.float32] = network(images.flatten(1).float()).numpy()
    return typicality


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def network(cache: Path) -> Typicality:
    return fitted(cache)


@pytest.fixture(scope="module")
def digits() -> Digits:
    return drawn_digits(300, seed=5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_tells_new_digits_from_other_pictures(
    kind: Kind, network: Typicality, digits: Digits
) -> None:
    made = negatives.to_measure(kind, 300, digits, Generator().manual_seed(9))
    pixels, found = arrive(made)
    unseen = np.full((~found).sum(), -np.inf, np.float32)
    others = np.append(unseen, scores(network, torch.from_numpy(pixels)))
    area = auroc(scores(network, digits.images), others)
    assert area > (0.75 if kind == "halves" else 0.95)  # 0.60 without training on halves


def test_it_takes_digits_that_were_resampled_for_digits(
    network: Typicality, digits: Digits
) -> None:
    threshold = np.quantile(scores(network, digits.images), 0.04)
    arrived = as_they_arrive(digits.images, 100)
    assert (scores(network, arrived) >= threshold).mean() > 0.3  # 0.07 without training on them


@pytest.mark.parametrize("side", TYPICALITY.sides)
def test_a_digit_that_arrives_is_resampled_and_still_itself(side: int, digits: Digits) -> None:
    arrived = as_they_arrive(digits.images, side)
    assert (arrived.flatten(1) != digits.images.flatten(1)).any(dim=1).all()
    both = zip(arrived.flatten(1).numpy(), digits.images.flatten(1).numpy(), strict=True)
    assert np.mean([np.corrcoef(one, other)[0, 1] for one, other in both]) > 0.75


def test_what_has_no_upright_is_turned(tmp_path: Path) -> None:
    """Declaring every kind upright therefore results in another network."""
    first, other = (
        fit_typicality(
            replace(QUICK, epochs=1, upright=kinds),
            drawn_digits(200, seed=1),
            cache=tmp_path,
            console=Console(file=StringIO()),
        )
        for kinds in (QUICK.upright, KINDS)
    )
    assert weights(first) != weights(other)


def test_an_epoch_of_many_digits_is_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, asked = negatives.to_learn_from, []

    def spy(kind: Kind, count: int, digits: Digits, generator: Generator) -> torch.Tensor:
        asked.append(count)
        return make(kind, count, digits, generator)

    monkeypatch.setattr(negatives, "to_learn_from", spy)
    fit_typicality(
        replace(QUICK, epochs=1, epoch=100),
        drawn_digits(300, seed=1),
        cache=tmp_path,
        console=Console(file=StringIO()),
    )
    assert sum(asked) == 3 * 100


def test_the_same_digits_make_the_same_network(
    network: Typicality, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It also learns from every kind in proportion to the kind's share."""
    make, asked = negatives.to_learn_from, {}

    def spy(kind: Kind, count: int, digits: Digits, generator: Generator) -> torch.Tensor:
        asked[kind] = count
        return make(kind, count, digits, generator)

    monkeypatch.setattr(negatives, "to_learn_from", spy)
    assert weights(fitted(tmp_path)) == weights(network)
    assert asked == {kind: 3 * int(1_000 * QUICK.shares[kind]) for kind in KINDS}


def test_what_was_trained_is_kept_for_the_next_network(
    network: Typicality, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(negatives, "to_learn_from", pytest.fail)
    assert weights(fitted(cache)) == weights(network)
    assert len(list(cache.iterdir())) == 1
