"""All networks that can be trained: the notebook's three multi-layer perceptrons, and yours.

A network takes normalised pixels, float32 `[N, 784]` in -1…1 (see `normalise`), and returns
logits, float32 `[N, 10]`. To add one, write its class and register it in `NETWORKS`
(docs/own-model.md).
"""

import hashlib
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PIXELS = 28 * 28
CLASSES = 10

# ToTensor, then Normalize((0.5,), (0.5,)): 0…255 becomes -1…1.
MEAN = 0.5
STD = 0.5


def normalise(images: Tensor) -> Tensor:
    """Turn pictures, uint8 `[N, 28, 28]`, into a network's input: float32 `[N, 784]` in -1…1."""
    return images.flatten(1).float().mul_(1 / (255 * STD)).sub_(MEAN / STD)


class Baseline(nn.Module):
    """784-128-64-10 with ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(PIXELS, 128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(x))
        logits: Tensor = self.fc3(x)
        return logits


class Deeper(nn.Module):
    """784-128-128-64-10 with ReLU: the baseline and one more hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(PIXELS, 128)
        self.fc2 = nn.Linear(128, 128)
        self.fc3 = nn.Linear(128, 64)
        self.fc4 = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(x))
        x = torch.relu(self.fc3(x))
        logits: Tensor = self.fc4(x)
        return logits


class Dropout(nn.Module):
    """784-128-128-64-10 with tanh, leaky ReLU and ReLU, and dropout after the first two."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(PIXELS, 128)
        self.fc2 = nn.Linear(128, 128)
        self.fc3 = nn.Linear(128, 64)
        self.fc4 = nn.Linear(64, CLASSES)
        self.dropout = nn.Dropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.dropout(torch.tanh(self.fc1(x)))
        x = self.dropout(F.leaky_relu(self.fc2(x)))
        x = torch.relu(self.fc3(x))
        logits: Tensor = self.fc4(x)
        return logits


# Each network by its name: a function from the recipe's dropout rate to the module.
NETWORKS: Mapping[str, Callable[[float], nn.Module]] = {
    "baseline": lambda _: Baseline(),
    "deeper": lambda _: Deeper(),
    "dropout": Dropout,
}


class NetworkError(Exception):
    """A network cannot be used; the message says why and what to do."""


def build(name: str, dropout: float) -> nn.Module:
    """Make the named network, with fresh weights from torch's global generator.

    Raises:
        NetworkError: It does not return ten logits per picture.
    """
    network = NETWORKS[name](dropout).eval()
    with torch.no_grad():
        shape = list(network(torch.zeros(2, PIXELS)).shape)
    if shape != [2, CLASSES]:
        raise NetworkError(
            f"The network {name} turns [2, {PIXELS}] pixels into {shape}. "
            f"Have its forward return [2, {CLASSES}] logits."
        )
    return network.train()


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the names and values of weights on the CPU, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in weights.items():
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
