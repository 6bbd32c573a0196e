import pytest
import torch
from torch import nn
from torchvision import transforms

from training import networks
from training.networks import Baseline, Deeper, Dropout, NetworkError, build, normalise


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (Baseline(), 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10),
        (Deeper(), 784 * 128 + 128 + 128 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10),
        (Dropout(0.5), 784 * 128 + 128 + 128 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10),
    ],
)
def test_a_network_has_the_notebooks_layers(network: nn.Module, parameters: int) -> None:
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network(torch.zeros(3, 784)).shape == (3, 10)


def test_dropout_drops_in_training_only() -> None:
    network, x = Dropout(0.5), torch.randn(4, 784)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_normalise_is_the_notebooks_transform() -> None:
    notebook = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    images = torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8)
    expected = torch.stack([notebook(image.numpy()) for image in images]).flatten(1)
    torch.testing.assert_close(normalise(images), expected, rtol=0, atol=2e-7)


def test_a_network_that_does_not_return_ten_logits_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(networks, "NETWORKS", {"mine": lambda _: nn.Linear(784, 11)})
    with pytest.raises(
        NetworkError, match=r"The network mine turns \[2, 784\] pixels into \[2, 11\]"
    ):
        build("mine", dropout=0.0)
