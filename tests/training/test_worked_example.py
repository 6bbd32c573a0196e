"""The notebook's 2-2-1 sigmoid network: our arithmetic, PyTorch's autograd and the page agree."""

import pytest
import torch

from tests.conftest import ROOT
from training.worked_example import work_out


def autograd() -> tuple[dict[str, float], dict[str, float]]:
    """Take one step with PyTorch.

    Return all quantities by their names on the page, and the parameters after the step.
    """

    def parameter(value: float) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    x1, x2, target = 0.7, 0.5, 1.0
    w1, w3, b1 = parameter(0.1), parameter(0.2), parameter(0.1)
    w2, w4, b2 = parameter(0.3), parameter(0.4), parameter(0.2)
    w5, w6, b3 = parameter(0.5), parameter(0.6), parameter(0.3)
    z1, z2 = x1 * w1 + x2 * w3 + b1, x1 * w2 + x2 * w4 + b2
    h1, h2 = z1.sigmoid(), z2.sigmoid()
    z3 = h1 * w5 + h2 * w6 + b3
    y = z3.sigmoid()
    loss = (y - target) ** 2 / 2
    parameters = {"w₁": w1, "w₃": w3, "b₁": b1, "w₂": w2, "w₄": w4, "b₂": b2}
    parameters |= {"w₅": w5, "w₆": w6, "b₃": b3}
    inner = {"z₁": z1, "z₂": z2, "h₁": h1, "h₂": h2, "z₃": z3, "y": y}
    for tensor in inner.values():
        tensor.retain_grad()
    optimizer = torch.optim.SGD(parameters.values(), lr=0.1)
    loss.backward()

    quantities = {name: tensor.item() for name, tensor in (inner | {"L": loss}).items()}
    for name, tensor in (inner | parameters).items():
        assert tensor.grad is not None
        quantities[f"∂L/∂{name}"] = tensor.grad.item()
    optimizer.step()
    return quantities, {name: tensor.item() for name, tensor in parameters.items()}


def test_every_quantity_is_autograds() -> None:
    quantities, after = autograd()
    example = work_out()
    computed = {each.name: each.value for each in example.forward + example.backward}
    assert computed == pytest.approx(quantities, abs=1e-15)
    assert {each.name: each.after for each in example.updates} == pytest.approx(after, abs=1e-15)


def test_the_page_has_every_step() -> None:
    page = (ROOT / "docs" / "worked-example.md").read_text(encoding="utf-8")
    example = work_out()
    for name, formula, value in example.forward + example.backward:
        assert f"| {name} | {formula} | {value:.6f} |" in page
    for name, before, after in example.updates:
        assert f"| {name} | {before} | {after:.6f} |" in page
