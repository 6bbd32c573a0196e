from pathlib import Path

import pytest

from serving import settings
from serving.settings import Provider, Settings, SettingsError


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
        ("QMNIST_WORKERS", "0"),
        ("QMNIST_MAX_IN_FLIGHT", "-1"),
        ("QMNIST_TIMEOUT", "0"),
        ("QMNIST_LOG", "xml"),
    ],
)
def test_an_impossible_value_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}='{value}'"):
        settings.load()


def test_api_keys_come_from_the_setting_and_from_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "keys"
    path.write_text("third\n\n fourth \n", encoding="utf-8")
    monkeypatch.setenv("QMNIST_API_KEYS", "first, second,")
    monkeypatch.setenv("QMNIST_API_KEYS_FILE", str(path))
    chosen = settings.load()
    assert chosen.all_api_keys() == {"first", "second", "third", "fourth"}
    assert "first" not in repr(chosen)


def test_a_file_without_keys_is_no_open_door(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    with pytest.raises(SettingsError, match="cannot be read"):
        Settings(api_keys_file=path).all_api_keys()
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="has no key"):
        Settings(api_keys_file=path).all_api_keys()


def test_web_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QMNIST_CORS_ORIGINS", "https://a.example, https://b.example")
    assert settings.load().cors_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "True"}, False),
    ],
)
def test_traces_are_wanted_where_they_can_go(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], wanted: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert settings.wants_traces() is wanted
