"""Every setting, from the environment. The names begin with `QMNIST_`, but for OpenTelemetry's."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from serving import resources


class SettingsError(Exception):
    """A setting has a value that it cannot have; the message names it."""


class Provider(StrEnum):
    """Where the networks run."""

    CPU = "cpu"
    CUDA = "cuda"
    AUTO = "auto"


class Log(StrEnum):
    """What is logged of each request."""

    OFF = "off"
    JSON = "json"


class Settings(BaseSettings):
    """The settings with their defaults; each is read from `QMNIST_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="QMNIST_")

    model: str = "deeper"
    """The model that answers when a request names none."""

    provider: Provider = Provider.CPU
    """`cuda` that cannot be had stops the start; `auto` takes CUDA where it works."""

    models: Path = resources.MODELS
    """The folder with an artifact in each subfolder."""

    model_poll: float = Field(default=0, ge=0)
    """Seconds after which a new artifact in `models` is noticed and served; 0 is never."""

    workers: int = Field(default=1, gt=0)
    """Processes that answer; each holds all models."""

    max_image_bytes: int = Field(default=10_000_000, gt=0)
    """The largest encoded picture that is read, in bytes."""

    max_image_pixels: int = Field(default=40_000_000, gt=0)
    """The largest picture that is decoded, width times height."""

    max_batch: int = Field(default=1_024, gt=0)
    """The most pictures in one request."""

    max_batch_bytes: int = Field(default=50_000_000, gt=0)
    """The largest request of many pictures, in bytes, compressed and decompressed."""

    max_batch_pixels: int = Field(default=400_000_000, gt=0)
    """The most pixels that are decoded for one request of many pictures."""

    max_in_flight: int = Field(default=128, gt=0)
    """The most requests that a worker has at once; what comes on top is refused with 503."""

    timeout: float = Field(default=10, gt=0)
    """Seconds in which a request's body must arrive, and in which it must be answered then."""

    grpc_port: int = Field(default=0, ge=0, le=65_535)
    """The port of the Open Inference Protocol over gRPC; 0 is none."""

    grpc_host: str = "127.0.0.1"
    """The address on which that port is opened; `0.0.0.0` lets other machines in."""

    drain: float = Field(default=1, ge=0)
    """Seconds from SIGTERM, while which requests are answered and told to go elsewhere."""

    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Separated by commas; with any set, all but the health checks want one of them."""

    api_keys_file: Path | None = None
    """A file with more such keys, one a line."""

    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Web origins, separated by commas, whose pages may read answers; `*` is all."""

    log: Log = Log.OFF
    """`json` writes one line a request."""

    @field_validator("api_keys", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:  # noqa: ANN401  pydantic gives what it got
        return _words(value.split(",")) if isinstance(value, str) else value

    def all_api_keys(self) -> frozenset[str]:
        """Return the keys of the setting and of the file.

        Raises:
            SettingsError: The file cannot be read, or has no key in it.
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
        SettingsError: One of them has a value that it cannot have.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"QMNIST_{first['loc'][0]}".upper()
        raise SettingsError(f"{name}={first['input']!r}: {first['msg']}") from error


def wants_traces() -> bool:
    """Whether OpenTelemetry's own variables say where to send traces; its SDK reads the others."""
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return any(map(os.environ.get, endpoints)) and not is_disabled


def _words(pieces: list[str]) -> list[str]:
    return [word for piece in pieces if (word := piece.strip())]
