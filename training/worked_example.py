"""One step of backpropagation by hand: two inputs, two hidden units, one output.

The course notebook ends with this calculation. This module uses only Python's arithmetic;
docs/worked-example.md explains each step.
"""

import math
from typing import NamedTuple


class Quantity(NamedTuple):
    """A line of the calculation: name, formula and value."""

    name: str
    formula: str
    value: float


class Update(NamedTuple):
    """A parameter before and after the step."""

    name: str
    before: float
    after: float


class WorkedExample(NamedTuple):
    """The three parts of one training step."""

    forward: list[Quantity]
    backward: list[Quantity]
    updates: list[Update]


def sigmoid(z: float) -> float:
    """Compute 1 / (1 + e⁻ᶻ)."""
    return 1 / (1 + math.exp(-z))


def work_out() -> WorkedExample:
    """Compute every quantity of the notebook's forward pass, backward pass and update."""
    x1, x2, t = 0.7, 0.5, 1.0
    w1, w3, b1 = 0.1, 0.2, 0.1
    w2, w4, b2 = 0.3, 0.4, 0.2
    w5, w6, b3 = 0.5, 0.6, 0.3
    rate = 0.1

    z1 = x1 * w1 + x2 * w3 + b1
    z2 = x1 * w2 + x2 * w4 + b2
    h1, h2 = sigmoid(z1), sigmoid(z2)
    z3 = h1 * w5 + h2 * w6 + b3
    y = sigmoid(z3)
    loss = (y - t) ** 2 / 2

    dy = y - t
    dz3 = dy * y * (1 - y)
    dh1, dh2 = dz3 * w5, dz3 * w6
    dz1, dz2 = dh1 * h1 * (1 - h1), dh2 * h2 * (1 - h2)

    gradients = [
        ("w₅", "∂L/∂z₃ · h₁", w5, dz3 * h1),
        ("w₆", "∂L/∂z₃ · h₂", w6, dz3 * h2),
        ("b₃", "∂L/∂z₃", b3, dz3),
        ("w₁", "∂L/∂z₁ · x₁", w1, dz1 * x1),
        ("w₃", "∂L/∂z₁ · x₂", w3, dz1 * x2),
        ("b₁", "∂L/∂z₁", b1, dz1),
        ("w₂", "∂L/∂z₂ · x₁", w2, dz2 * x1),
        ("w₄", "∂L/∂z₂ · x₂", w4, dz2 * x2),
        ("b₂", "∂L/∂z₂", b2, dz2),
    ]
    of_parameters = [
        Quantity(f"∂L/∂{name}", formula, gradient) for name, formula, _, gradient in gradients
    ]
    return WorkedExample(
        forward=[
            Quantity("z₁", "x₁w₁ + x₂w₃ + b₁", z1),
            Quantity("z₂", "x₁w₂ + x₂w₄ + b₂", z2),
            Quantity("h₁", "σ(z₁)", h1),
            Quantity("h₂", "σ(z₂)", h2),
            Quantity("z₃", "h₁w₅ + h₂w₆ + b₃", z3),
            Quantity("y", "σ(z₃)", y),
            Quantity("L", "(y − t)² / 2", loss),
        ],
        backward=[
            Quantity("∂L/∂y", "y − t", dy),
            Quantity("∂L/∂z₃", "∂L/∂y · y(1 − y)", dz3),
            *of_parameters[:3],
            Quantity("∂L/∂h₁", "∂L/∂z₃ · w₅", dh1),
            Quantity("∂L/∂h₂", "∂L/∂z₃ · w₆", dh2),
            Quantity("∂L/∂z₁", "∂L/∂h₁ · h₁(1 − h₁)", dz1),
            Quantity("∂L/∂z₂", "∂L/∂h₂ · h₂(1 − h₂)", dz2),
            *of_parameters[3:],
        ],
        updates=[
            Update(name, before, before - rate * gradient)
            for name, _, before, gradient in gradients[3:] + gradients[:3]
        ],
    )
