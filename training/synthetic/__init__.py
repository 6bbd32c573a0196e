"""Pictures that QMNIST lacks, and the project makes: to learn from, and to be measured on."""

from torch import Tensor

from training.form import qmnist_form


def arrive(pictures: Tensor) -> Tensor:
    """Turn pictures into what the networks get of them; nothing else brings them into that form.

    Args:
        pictures: float32 `[N, S, S]` in 0…255, dark on light or light on dark.

    Returns:
        uint8 `[N, 28, 28]`, 255 is ink.
    """
    return qmnist_form(pictures)
