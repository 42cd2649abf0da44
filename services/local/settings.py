"""Settings of the local installation; every one of them is an environment variable named `CHAT_LOCAL_…`."""

import os
import sys
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _user_folder(variable: str, *, otherwise: str) -> Path:
    """Return a folder of this user for this program, after the XDG base directory specification."""
    base = os.environ.get(variable, "")
    return (Path(base) if base else Path.home() / otherwise) / "chat-routing"


def _cache_folder() -> Path:
    return _user_folder("XDG_CACHE_HOME", otherwise=".cache")


def _data_folder() -> Path:
    return _user_folder("XDG_DATA_HOME", otherwise=".local/share")


def _maven_central() -> str:
    from jgo.constants import MAVEN_CENTRAL_URL

    return str(MAVEN_CENTRAL_URL)


class LocalSettings(BaseSettings):
    """How one machine runs the embedded parts."""

    model_config = SettingsConfigDict(env_prefix="CHAT_LOCAL_", frozen=True)

    cache_folder: Path = Field(
        default_factory=_cache_folder,
        description="where Kafka's libraries (46 MB) are kept, so that they are fetched once",
    )
    tryton_folder: Path = Field(
        default_factory=lambda: Path(sys.prefix).with_name(".venv-tryton"),
        description="the environment of the CRM Tryton, which `make tryton` makes",
    )
    data_folder: Path = Field(
        default_factory=_data_folder,
        description="where `chat-routing up` keeps its data unless told otherwise",
    )
    maven_url: str = Field(
        default_factory=_maven_central,
        description="the Maven repository Kafka's libraries are fetched from; every file is checked against a committed sum",
    )
    kafka_heap_mb: int = Field(default=512, ge=256, le=16_384, description="heap of each embedded broker")
    kafka_start_limit_s: float = Field(
        default=90.0, gt=0, description="how long the embedded brokers may take to start"
    )
    worker_start_limit_s: float = Field(
        default=60.0, gt=0, description="how long the workers may take to be ready"
    )
    stop_grace_s: float = Field(
        default=20.0, gt=0, description="how long a process may take to stop before it is killed"
    )
