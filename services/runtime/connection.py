"""How every client of a process reaches Kafka: where the brokers are, whom they are to be, and as whom it comes.

The one rule: a name, a password or a certificate never crosses a connection without TLS. Whoever names one has TLS, and the
brokers' certificate is always checked, its host name too.
"""

import os
import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from services.runtime.failures import WorkerFailed
from services.runtime.logs import explain, log

PREFIX = "CHAT_"
SETTINGS_FOLDER = f"{PREFIX}SETTINGS_FOLDER"
SECRETS_FOLDER = Path("/run/secrets")
"""Where containers find secrets, a file for each setting, such as `chat_ledger_url`; a variable of the same name wins."""
SASL_MECHANISM = "SCRAM-SHA-512"
CONTEXTS_MAX = 8
"""A process has one; tests have some."""

_Files = tuple[Path | None, Path | None, Path | None]
_log = log(__name__)


def secret_of(given: SecretStr | None, file: Path | None) -> str | None:
    """A secret, from the variable or the file that holds it. Raises OSError or UnicodeDecodeError for a file of no use."""
    if given is not None:
        return given.get_secret_value()
    return None if file is None else file.read_text("utf-8").strip()


class KafkaSettings(BaseSettings):
    """Where Kafka is, and how to be let in."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="ignore",
        secrets_dir=SECRETS_FOLDER if SECRETS_FOLDER.is_dir() else None,
    )

    settings_folder: Path | None = Field(
        default=None,
        description="a folder with a file for each of these settings, such as `chat_log_level`; a variable of the same name wins. SIGHUP has "
        "them read anew",
    )
    bootstrap: str = Field(
        default="127.0.0.1:9092", description="addresses of the Kafka brokers, HOST:PORT,…"
    )
    kafka_tls: bool = Field(
        default=False,
        description="reach the brokers by TLS; the settings `CHAT_KAFKA_…` below switch it on as well",
    )
    kafka_ca_file: Path | None = Field(
        default=None,
        description="certificates of who may vouch for the brokers, PEM; without it the system's own",
    )
    kafka_certificate_file: Path | None = Field(
        default=None, description="this process' own certificate, PEM, where the brokers ask for one"
    )
    kafka_key_file: Path | None = Field(default=None, description="the key of this certificate, PEM")
    kafka_user: str | None = Field(
        default=None, min_length=1, description=f"whom the process comes as, by SASL/{SASL_MECHANISM}"
    )
    kafka_password: SecretStr | None = Field(
        default=None, min_length=1, description="the password of this user; better in a file"
    )
    kafka_password_file: Path | None = Field(default=None, description="a file that holds this password")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - there is none
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given, then variables, then the files of the settings' folder, then secrets. Raises WorkerFailed."""
        folder = os.environ.get(SETTINGS_FOLDER)
        if folder is None:
            return init_settings, env_settings, file_secret_settings
        if not Path(folder).is_dir():
            raise WorkerFailed(f"{SETTINGS_FOLDER}: there is no such folder")
        of_folder = SecretsSettingsSource(settings_cls, secrets_dir=folder)
        return init_settings, env_settings, of_folder, file_secret_settings

    @model_validator(mode="after")
    def _kafka_lets_us_in(self) -> Self:
        if (self.kafka_certificate_file is None) != (self.kafka_key_file is None):
            raise ValueError("set both CHAT_KAFKA_CERTIFICATE_FILE and CHAT_KAFKA_KEY_FILE, or neither")
        if self.kafka_password is not None and self.kafka_password_file is not None:
            raise ValueError("set either CHAT_KAFKA_PASSWORD or CHAT_KAFKA_PASSWORD_FILE")
        try:
            password = self._password
        except (OSError, UnicodeDecodeError):
            raise ValueError("CHAT_KAFKA_PASSWORD_FILE can't be read") from None
        if (self.kafka_user is None) != (password is None):
            raise ValueError("set both CHAT_KAFKA_USER and its password, or neither")
        if self._has_tls:
            try:
                _context(self._files)
            except (OSError, ssl.SSLError):
                raise ValueError(
                    "CHAT_KAFKA_CA_FILE, CHAT_KAFKA_CERTIFICATE_FILE and CHAT_KAFKA_KEY_FILE must name readable files with "
                    "certificates, and a key that belongs to its certificate"
                ) from None
        return self

    @property
    def _password(self) -> str | None:
        return secret_of(self.kafka_password, self.kafka_password_file) or None

    @property
    def _files(self) -> _Files:
        return self.kafka_ca_file, self.kafka_certificate_file, self.kafka_key_file

    @property
    def _has_tls(self) -> bool:
        return self.kafka_tls or self.kafka_user is not None or any(self._files)

    def client(self) -> dict[str, Any]:
        """Return what each client of aiokafka is given. A password that was renewed in its file is read anew."""
        reached: dict[str, Any] = {"bootstrap_servers": self.bootstrap}
        if self._has_tls:
            reached |= {"security_protocol": "SSL", "ssl_context": _context(self._files)}
        if self.kafka_user is not None:
            reached |= {
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": SASL_MECHANISM,
                "sasl_plain_username": self.kafka_user,
                "sasl_plain_password": self._password,
            }
        return reached


class _Renewing(ssl.SSLContext):
    """A context that looks at its files before each handshake, so that renewed certificates need no restart.

    Connections that stand keep what they were made with.
    """

    _files: _Files
    _times_ns: tuple[int, ...]
    _inner: ssl.SSLContext

    @classmethod
    def of(cls, files: _Files) -> Self:
        """Raises OSError or SSLError where a file is of no use."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context._files = files
        context._times_ns = _changed_ns(files)
        context._inner = _loaded(files)
        return context

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """Begin a handshake."""
        try:
            times_ns = _changed_ns(self._files)
            if times_ns != self._times_ns:
                self._inner = _loaded(self._files)
                self._times_ns = times_ns
        except (OSError, ssl.SSLError) as error:
            # Half written, or gone for a moment: what was read before is still good.
            _log.warning("kafka_certificates_unreadable", error=explain(error))
        return self._inner.wrap_bio(*arguments, **named)


@lru_cache(maxsize=CONTEXTS_MAX)
def _context(files: _Files) -> ssl.SSLContext:
    return _Renewing.of(files)


def _changed_ns(files: _Files) -> tuple[int, ...]:
    return tuple(path.stat().st_mtime_ns for path in files if path is not None)


def _loaded(files: _Files) -> ssl.SSLContext:
    authorities, certificate, key = files
    context = ssl.create_default_context(cafile=authorities)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context
