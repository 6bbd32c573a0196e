from pathlib import Path

import pytest

from serving import settings
from serving.settings import Provider, SettingsError


def test_the_defaults() -> None:
    defaults = settings.load()
    assert defaults.model == "deeper"
    assert defaults.provider is Provider.CPU
    assert {path.name for path in defaults.models.iterdir()} >= {"baseline", "deeper", "dropout"}
    assert defaults.max_image_bytes == 10_000_000
    assert defaults.max_image_pixels == 40_000_000


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QMNIST_MODEL", "baseline")
    monkeypatch.setenv("QMNIST_PROVIDER", "auto")
    monkeypatch.setenv("QMNIST_MODELS", "/elsewhere")
    chosen = settings.load()
    assert chosen.model == "baseline"
    assert chosen.provider is Provider.AUTO
    assert chosen.models == Path("/elsewhere")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QMNIST_PROVIDER", "tpu"),
        ("QMNIST_MAX_IMAGE_BYTES", "0"),
        ("QMNIST_MAX_IMAGE_PIXELS", "many"),
    ],
)
def test_an_impossible_value_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}='{value}'"):
        settings.load()
