"""The notebook's network of 2-2-1 sigmoids, by autograd, against `docs/worked-example.md`."""

import re

import pytest
import torch

from tests.conftest import ROOT

DIGITS = dict(zip("₀₁₂₃₄₅₆", "0123456", strict=True))


def autograd() -> tuple[dict[str, float], dict[str, float]]:
    """One step: every quantity by its name on the page, and the parameters after it."""

    def parameter(value: float) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    x1, x2, target = 0.7, 0.5, 1.0
    w1, w3, b1 = parameter(0.1), parameter(0.2), parameter(0.1)
    w2, w4, b2 = parameter(0.3), parameter(0.4), parameter(0.2)
    w5, w6, b3 = parameter(0.5), parameter(0.6), parameter(0.3)
    z1 = x1 * w1 + x2 * w3 + b1
    z2 = x1 * w2 + x2 * w4 + b2
    h1, h2 = z1.sigmoid(), z2.sigmoid()
    z3 = h1 * w5 + h2 * w6 + b3
    y = z3.sigmoid()
    loss = (y - target) ** 2 / 2
    parameters = {"w1": w1, "w3": w3, "b1": b1, "w2": w2, "w4": w4, "b2": b2}
    parameters |= {"w5": w5, "w6": w6, "b3": b3}
    inner = {"z1": z1, "z2": z2, "h1": h1, "h2": h2, "z3": z3, "y": y}
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


def page() -> tuple[dict[str, float], dict[str, float]]:
    """The page's tables of quantities, and of the parameters after the step."""
    text = (ROOT / "docs" / "worked-example.md").read_text(encoding="utf-8")
    text = re.sub("[₀-₆]", lambda match: DIGITS[match[0]], text)
    rows = re.findall(r"^\| (\S+) \| ([^|]+) \| (-?\d\.\d{6}) \|$", text, re.MULTILINE)
    steps = {name: float(after) for name, before, after in rows if re.match(r"0\.\d$", before)}
    return {name: float(value) for name, _, value in rows if name not in steps}, steps


def test_every_number_on_the_page_is_autograds() -> None:
    quantities, after = autograd()
    on_page, steps = page()
    assert steps == pytest.approx(after, abs=5.1e-7)
    assert on_page == pytest.approx({name: quantities[name] for name in on_page}, abs=5.1e-7)
    assert quantities.keys() == on_page.keys()
