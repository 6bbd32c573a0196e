"""Every setting, from the environment. The names begin with `QMNIST_`."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(Exception):
    """A setting has a value that it cannot have; the message names it."""


class Provider(StrEnum):
    """Where the networks run."""

    CPU = "cpu"
    CUDA = "cuda"
    AUTO = "auto"


class Settings(BaseSettings):
    """The settings with their defaults; each is read from `QMNIST_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="QMNIST_")

    model: str = "deeper"
    """The model that answers when a request names none."""

    provider: Provider = Provider.CPU
    """`cuda` that cannot be had stops the start; `auto` takes CUDA where it works."""

    models: Path = Path(__file__).parent.parent / "models"
    """The folder with an artifact in each subfolder."""

    max_image_bytes: int = Field(default=10_000_000, gt=0)
    """The largest encoded picture that is read, in bytes."""

    max_image_pixels: int = Field(default=40_000_000, gt=0)
    """The largest picture that is decoded, width times height."""


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
