"""The course notebook on one screen, with its mistakes corrected.

    .venv-dev/bin/python examples/notebook.py data    # QMNIST is downloaded into data/

This trains the notebook's three networks with several seeds, prints the share of training and test
digits that each gets right, and draws nine test digits with their predictions in predictions.png.
It needs only torch, torchvision and matplotlib. docs/notebook.md explains each of the notebook's
cells.
"""

import sys
from statistics import mean

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy
from torchvision.datasets import QMNIST

# fmt: off
NETWORKS = {
    "baseline": lambda: nn.Sequential(
        nn.Linear(784, 128), nn.ReLU(),
        nn.Linear(128, 64), nn.ReLU(),
        nn.Linear(64, 10)),
    "deeper": lambda: nn.Sequential(
        nn.Linear(784, 128), nn.ReLU(),
        nn.Linear(128, 128), nn.ReLU(),
        nn.Linear(128, 64), nn.ReLU(),
        nn.Linear(64, 10)),
    "dropout": lambda: nn.Sequential(
        nn.Linear(784, 128), nn.Tanh(), nn.Dropout(0.5),
        nn.Linear(128, 128), nn.LeakyReLU(), nn.Dropout(0.5),
        nn.Linear(128, 64), nn.ReLU(),
        nn.Linear(64, 10)),
}
# fmt: on
SEEDS = 3
OPTIMIZERS = {"baseline": optim.Adam, "deeper": optim.Adam, "dropout": optim.RMSprop}


def load(root: str, split: str) -> tuple[Tensor, Tensor]:
    """Read a split of QMNIST: pixels, float32 `[N, 784]` in -1…1, and labels, int64 `[N]`."""
    digits = QMNIST(root, what=split, download=True)
    return (digits.data.flatten(1) / 255 - 0.5) / 0.5, digits.targets[:, 0]


def train(name: str, x: Tensor, y: Tensor, seed: int, epochs: int = 5) -> nn.Module:
    """Train a network on pixels `x` and labels `y`."""
    torch.manual_seed(seed)
    network = NETWORKS[name]()
    optimizer = OPTIMIZERS[name](network.parameters(), lr=0.001)
    for epoch in range(1, epochs + 1):
        shuffle = torch.Generator().manual_seed(1_000_003 * seed + epoch)
        torch.manual_seed(1_000_003 * seed + epoch)  # for dropout
        running_loss = 0.0
        for batch, rows in enumerate(torch.randperm(len(y), generator=shuffle).split(64), 1):
            optimizer.zero_grad()
            loss = cross_entropy(network(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            if batch % 100 == 0:
                print(f"{name}, epoch {epoch}, batch {batch}: loss {running_loss / 100:.3f}")
                running_loss = 0.0
    return network.eval()


@torch.inference_mode()
def accuracy(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of digits that a network gets right, 0…1."""
    return int((network(x).argmax(1) == y).sum()) / len(y)


def main(root: str) -> None:
    """Train each network, print its accuracy, and draw some predictions."""
    torch.set_num_threads(1)  # networks this small gain nothing from more
    x, y = load(root, "train")
    test_x, test_y = load(root, "test")
    for name in NETWORKS:
        networks = [train(name, x, y, seed) for seed in range(SEEDS)]
        test = [accuracy(network, test_x, test_y) for network in networks]
        print(
            f"{name}: train {mean(accuracy(network, x, y) for network in networks):.2%}, "
            f"test {mean(test):.2%} ({min(test):.2%} to {max(test):.2%})"
        )
    rows = torch.randperm(len(test_y))[:9]
    with torch.inference_mode():
        predicted = networks[0](test_x[rows]).argmax(1)
    figure, axes = plt.subplots(3, 3, figsize=(6, 6.6), layout="constrained")
    for axis, row, guess in zip(axes.flat, rows, predicted, strict=True):
        axis.imshow(test_x[row].view(28, 28), cmap="gray")
        axis.set_title(f"predicted {guess}, is {test_y[row]}")
        axis.axis("off")
    figure.savefig("predictions.png")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "data")
