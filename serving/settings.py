"""Every setting, read from the environment: `QMNIST_…`, and OpenTelemetry's own for traces."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from serving import resources


class SettingsError(Exception):
    """A setting has an invalid value; the message names the setting."""


class Provider(StrEnum):
    """Where the networks run."""

    CPU = "cpu"
    CUDA = "cuda"
    AUTO = "auto"


class Log(StrEnum):
    """How requests are logged."""

    OFF = "off"
    JSON = "json"


class Settings(BaseSettings):
    """The settings with their defaults; each is read from `QMNIST_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="QMNIST_")

    model: str = "deeper"
    """The model for requests that name none."""

    provider: Provider = Provider.CPU
    """`cuda` fails at startup if CUDA is unavailable; `auto` falls back to the CPU."""

    models: Path = resources.MODELS
    """The folder of the models, with one artifact per subfolder."""

    model_poll: float = Field(default=0, ge=0)
    """Seconds between two looks for new artifacts in `models`; 0 never looks."""

    workers: int = Field(default=1, gt=0)
    """Number of worker processes; each holds all models."""

    max_image_bytes: int = Field(default=10_000_000, gt=0)
    """The largest encoded picture, in bytes."""

    max_image_pixels: int = Field(default=40_000_000, gt=0)
    """The largest picture, in pixels: width times height."""

    max_batch: int = Field(default=1_024, gt=0)
    """The most pictures in one request."""

    max_batch_bytes: int = Field(default=50_000_000, gt=0)
    """The largest request with many pictures, in bytes, before and after decompression."""

    max_batch_pixels: int = Field(default=400_000_000, gt=0)
    """The most pixels decoded for one request with many pictures."""

    max_in_flight: int = Field(default=128, gt=0)
    """The most requests in flight in a worker; it refuses more with 503."""

    timeout: float = Field(default=10, gt=0)
    """Seconds for a request's body to arrive, and as many again to answer it."""

    grpc_port: int = Field(default=0, ge=0, le=65_535)
    """The port of the Open Inference Protocol over gRPC; 0 turns it off."""

    grpc_host: str = "127.0.0.1"
    """The address that gRPC listens on; `0.0.0.0` admits other machines."""

    drain: float = Field(default=1, ge=0)
    """Seconds after SIGTERM in which requests are still answered, with `Connection: close`."""

    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """API keys, separated by commas; with any set, all but health checks and `/ui/` require one."""

    api_keys_file: Path | None = None
    """A file with more API keys, one per line."""

    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Web origins whose pages may read answers, separated by commas; `*` allows all."""

    log: Log = Log.OFF
    """`json` writes one line per request to standard output."""

    @field_validator("api_keys", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:  # noqa: ANN401  any input
        return _words(value.split(",")) if isinstance(value, str) else value

    def all_api_keys(self) -> frozenset[str]:
        """Return the keys from the setting and the file.

        Raises:
            SettingsError: The file cannot be read or has no key in it.
        """
        keys = [key.get_secret_value() for key in self.api_keys]
        if self.api_keys_file is not None:
            try:
                lines = self.api_keys_file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(
                    f"QMNIST_API_KEYS_FILE={str(self.api_keys_file)!r} cannot be read: {error}"
                ) from error
            in_file = _words(lines)
            if not in_file:
                raise SettingsError(f"QMNIST_API_KEYS_FILE={str(self.api_keys_file)!r} has no key")
            keys += in_file
        return frozenset(keys)


def load() -> Settings:
    """Read the settings.

    Raises:
        SettingsError: One of them has an invalid value.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"QMNIST_{first['loc'][0]}".upper()
        raise SettingsError(f"{name}={first['input']!r}: {first['msg']}") from error


def wants_traces() -> bool:
    """Whether OpenTelemetry's variables name an endpoint for traces; its SDK reads the others."""
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return any(map(os.environ.get, endpoints)) and not is_disabled


def _words(pieces: list[str]) -> list[str]:
    return [word for piece in pieces if (word := piece.strip())]
