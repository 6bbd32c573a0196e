import numpy as np
import pytest
import torch

from training.calibration import fit_acceptance, fit_temperature
from training.evaluation import Outputs
from training.recipes import AcceptanceRecipe


def overconfident(count: int, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are `temperature` times those of the distribution the labels are drawn from."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(count, 10, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return temperature * logits, labels


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_temperature_of_known_logits_is_found(temperature: float) -> None:
    logits, labels = overconfident(20_000, temperature)
    found = fit_temperature(logits, labels, writers=torch.arange(20_000) // 20)
    assert found == pytest.approx(temperature, rel=0.03)


def test_a_temperature_that_does_not_help_on_other_writers_is_not_kept() -> None:
    logits, labels = overconfident(200, 1.0)
    found = fit_temperature(logits, labels, writers=torch.arange(200) // 20)
    assert found == 1.0


def test_the_thresholds_refuse_the_share_they_should() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(10, 0.05), size=10_000).astype(np.float32)
    outputs = Outputs(probabilities, rng.normal(size=10_000).astype(np.float32))
    acceptance = fit_acceptance(AcceptanceRecipe(unsure=0.025, refused=0.04), outputs)
    accepted = acceptance.accepts(outputs)
    assert (outputs.confidence >= acceptance.confidence).mean() == pytest.approx(0.975, abs=1e-3)
    assert accepted.mean() == pytest.approx(0.96, abs=1e-3)
