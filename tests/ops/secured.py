"""A Kafka that wants to know who comes: one door for names with passwords, one for certificates, and access lists behind both.

The plain listener is the administrator's: whoever comes by it may do all.
"""

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from services.local.broker_files import Door
from services.local.kafka import EmbeddedKafka
from services.local.ports import LOOPBACK, free_ports
from tests.programs import program

SASL, MUTUAL = 0, 1
"""Numbers of the doors."""
LIMIT_S = 30
CERTIFY = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"


@dataclass(frozen=True, slots=True)
class Secured:
    """The running broker. `open` is the administrator's address; `by_password` and `by_certificate` are the others'."""

    open: str
    by_password: str
    by_certificate: str
    folder: Path
    passwords: dict[str, str]

    @property
    def authority(self) -> Path:
        return self.folder / "ca.pem"

    def certificate(self, user: str, *, authority: str = "ca") -> tuple[Path, Path]:
        """A certificate that names a user, and its key."""
        certify(self.folder, user, authority=authority)
        return self.folder / f"{user}.pem", self.folder / f"{user}.key"

    def environment(self, user: str) -> dict[str, str]:
        """The settings with which a process comes as this user, by its password."""
        path = self.folder / f"{user}.password"
        path.write_text(self.passwords[user] + "\n", encoding="ascii")
        return {
            "CHAT_BOOTSTRAP": self.by_password,
            "CHAT_KAFKA_CA_FILE": str(self.authority),
            "CHAT_KAFKA_USER": user,
            "CHAT_KAFKA_PASSWORD_FILE": str(path),
        }


def certify(folder: Path, name: str, *, authority: str | None = None) -> None:
    """Write NAME.pem and NAME.key: an authority of its own, or vouched for by one."""
    signed = (
        ["-addext", "basicConstraints=critical,CA:TRUE"]
        if authority is None
        else [
            *("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-addext", f"subjectAltName=IP:{LOOPBACK}"),
        ]
    )
    command = [
        *CERTIFY.split(),
        "-subj",
        f"/CN={name}",
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.pem",
        *signed,
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=LIMIT_S)


@contextmanager
def secured(*users: str) -> Iterator[Secured]:
    """A broker that knows these users."""
    program("openssl", package="openssl")
    passwords = {user: secrets.token_urlsafe(16) for user in users}
    with TemporaryDirectory(prefix="chat-routing-secured-") as name:
        folder = Path(name)
        certify(folder, "ca")
        certify(folder, "broker", authority="ca")
        keystore = folder / "keystore.pem"
        keystore.write_text(
            (folder / "broker.key").read_text("ascii") + (folder / "broker.pem").read_text("ascii"), "ascii"
        )
        ports = free_ports(2)
        doors = (Door(ports[SASL], ports[SASL], "SASL_SSL"), Door(ports[MUTUAL], ports[MUTUAL], "SSL"))
        settings = {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(keystore),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(folder / "ca.pem"),
            f"listener.name.door{SASL}.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            f"listener.name.door{SASL}.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            f"listener.name.door{MUTUAL}.ssl.client.auth": "required",
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        with EmbeddedKafka(doors={1: doors}, passwords=passwords, overrides=settings) as kafka:
            by_password, by_certificate = (f"{LOOPBACK}:{door.port}" for door in doors)
            yield Secured(kafka.bootstrap, by_password, by_certificate, folder, passwords)
