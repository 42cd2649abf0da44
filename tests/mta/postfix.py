"""A real mail server: Postfix from Debian, run from a folder of its own, on ports of loopback.

The one rule: nothing of the system's own mail is read or touched. Configuration, queue, keys, mailboxes and log are under one
temporary folder, and go with it. It listens on a port for each way to talk to it (`DOORS`).
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from pwd import getpwnam
from tempfile import mkdtemp
from time import monotonic, sleep
from typing import Self

from services.local.ports import LOOPBACK, free_ports, is_free

DAEMONS = Path("/usr/lib/postfix/sbin")
PROGRAMS = ("postfix", "saslpasswd2", "openssl")
LOGIN = "*/sasl2/libplain.so"
"""SASL's way to take a password; without it Postfix offers no login."""
OWNER = "postfix"
USER, PASSWORD = "chats", "right"
MAIL_BYTES_MAX = 50_000_000
LIMIT_S = 20.0
LIFETIME_S = 900
"""Postfix ends by itself after this: no test run that was killed leaves it behind for long."""

DOMAINS = ("example.com", "example.org", "例え.jp")
MAILBOXES = {
    "sales@example.com": "sales",
    "busy@example.com": "busy",
    "archive@example.com": "archive",
    "ann@example.org": "ann",
    "山田@example.com": "yamada",
    "受付@例え.jp": "uketsuke",
}
"""Anybody else is unknown: 550."""

SECURE = "-o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes -o smtpd_client_restrictions=permit_sasl_authenticated,reject"
DOORS = {
    "plain": "",
    "secure": SECURE,
    "tls": f"{SECURE} -o smtpd_tls_wrappermode=yes",
    "ascii": "-o smtputf8_enable=no",
    "judged": "-o smtpd_end_of_data_restrictions=$judge -o smtpd_recipient_restrictions=reject_unauth_destination,$judge",
}
"""`secure` takes nothing without STARTTLS and a login, `judged` asks the test (`Postfix.judged_by`) what to answer."""

MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = {daemons}
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
myhostname = mta.test
mydestination =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
message_size_limit = {bytes_max}
virtual_mailbox_limit = 0
virtual_mailbox_domains = {domains}
virtual_mailbox_maps = texthash:{folder}/etc/mailboxes
virtual_mailbox_base = {folder}/mail
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = {uid}
smtpd_relay_restrictions =
smtpd_recipient_restrictions = reject_unauth_destination
smtpd_error_sleep_time = 0
smtpd_tls_chain_files = {folder}/etc/mta.key, {folder}/etc/mta.pem
smtpd_tls_received_header = yes
smtpd_tls_auth_only = yes
smtpd_sasl_local_domain = $myhostname
judge = check_policy_service,inet:{loopback}:{judge}
"""
SERVICES = """
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
SASL = """
pwcheck_method: auxprop
auxprop_plugin: sasldb
mech_list: PLAIN LOGIN
sasldb_path: {folder}/data/accounts
"""
"""Debian's Postfix looks for it in `sasl`, beside its own configuration."""

CERTIFY = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"

Judge = Callable[[dict[str, str]], Awaitable[str]]
"""Gives Postfix's action, such as `DUNNO` or `450 later`, for what it asks (its document SMTPD_POLICY_README)."""


def lacking() -> str | None:
    """Return what Postfix needs and is not here."""
    if os.geteuid() != 0:
        return "Postfix can only be started by root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    missing += [] if (DAEMONS / "master").exists() else ["master"]
    missing += [] if any(Path("/usr/lib").glob(LOGIN)) else [LOGIN]
    if missing:
        return (
            f"{', '.join(missing)} not found (Debian: apt install postfix sasl2-bin libsasl2-modules openssl)"
        )
    return None


class Postfix:
    """The running server, as a context manager. `ports` are by door; `authority` is the file of its own CA."""

    def __init__(self) -> None:
        self._folder = Path(mkdtemp(prefix="chat-routing-mta-"))
        self._judge_port, *ports = free_ports(1 + len(DOORS))
        self.ports = dict(zip(DOORS, ports, strict=True))
        self.authority = self._folder / "etc" / "ca.pem"
        self._master: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._write()
            self._certify()
            self._run("postfix", "-c", str(self._folder / "etc"), "check")
            command = [str(DAEMONS / "master"), "-c", str(self._folder / "etc"), "-d", "-e", str(LIFETIME_S)]
            # Of a session of its own: it ends its children by their process group, which is its own alone.
            self._master = subprocess.Popen(command, start_new_session=True)
            until_s = monotonic() + LIMIT_S
            while any(map(is_free, self.ports.values())):
                assert monotonic() < until_s, self.log()
                assert self._master.poll() is None, self.log()
                sleep(0.05)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._master is not None:
            self._master.terminate()
            self._master.wait(LIMIT_S)
        shutil.rmtree(self._folder)

    def _write(self) -> None:
        owner = getpwnam(OWNER)
        self._folder.chmod(0o755)
        for name in ("etc", "etc/sasl", "queue", "data", "mail"):
            (self._folder / name).mkdir()
        for name in ("data", "mail"):
            shutil.chown(self._folder / name, OWNER)
        main = MAIN.format(
            folder=self._folder,
            daemons=DAEMONS,
            bytes_max=MAIL_BYTES_MAX,
            domains=", ".join(DOMAINS),
            uid=owner.pw_uid,
            gid=owner.pw_gid,
            loopback=LOOPBACK,
            judge=self._judge_port,
        )
        doors = [f"{LOOPBACK}:{self.ports[name]} inet n - n - - smtpd {DOORS[name]}\n" for name in DOORS]
        boxes = [f"{address} {name}/\n" for address, name in MAILBOXES.items()]
        for name, text in (
            ("main.cf", main),
            ("master.cf", "".join(doors) + SERVICES),
            ("mailboxes", "".join(boxes)),
            ("sasl/smtpd.conf", SASL.format(folder=self._folder)),
        ):
            (self._folder / "etc" / name).write_text(text)
        accounts = self._folder / "data" / "accounts"
        self._run("saslpasswd2", "-c", "-p", "-f", str(accounts), "-u", "mta.test", USER, text=PASSWORD)
        shutil.chown(accounts, OWNER)

    def _certify(self) -> None:
        """Make a CA, and a certificate by it for 127.0.0.1."""
        etc = self._folder / "etc"

        def certify(name: str, *more: str) -> None:
            files = ("-keyout", str(etc / f"{name}.key"), "-out", str(etc / f"{name}.pem"))
            self._run(*CERTIFY.split(), *files, "-subj", f"/CN={name}", *more)

        certify("ca")
        certify(
            *("mta", "-CA", str(self.authority), "-CAkey", str(etc / "ca.key")),
            *("-addext", f"subjectAltName=IP:{LOOPBACK}", "-addext", "basicConstraints=CA:FALSE"),
        )

    def _run(self, *command: str, text: str | None = None) -> None:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert done.returncode == 0, done.stderr

    def log(self) -> str:
        """Return all it has told."""
        path = self._folder / "log"
        return path.read_text() if path.exists() else "it has told nothing"

    def empty(self) -> None:
        """Throw away all that was delivered."""
        for box in (self._folder / "mail").iterdir():
            shutil.rmtree(box)

    async def mails(self, address: str) -> list[bytes]:
        """Return what is in a mailbox, as delivered, once nothing is on its way any more."""
        async with asyncio.timeout(LIMIT_S):
            while self._under_way():  # noqa: ASYNC110  another process, which sets no event
                await asyncio.sleep(0.02)
        return [path.read_bytes() for path in self._folder.glob(f"mail/{MAILBOXES[address]}/new/*")]

    def _under_way(self) -> bool:
        """Look in the order a mail goes from one folder to the next, so that none is missed."""
        queues = (self._folder / "queue" / name for name in ("incoming", "active", "deferred"))
        return any(path.is_file() for queue in queues for path in queue.rglob("*"))

    @asynccontextmanager
    async def judged_by(self, judge: Judge) -> AsyncIterator[None]:
        """Let a test decide what is answered at the door `judged`, to recipients and to messages, and how late."""

        talks: set[asyncio.StreamWriter] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            talks.add(writer)
            while asked := await _question(reader):
                writer.write(f"action={await judge(asked)}\n\n".encode())

        server = await asyncio.start_server(serve, LOOPBACK, self._judge_port)
        try:
            yield
        finally:
            server.close()
            for talk in talks:  # Postfix would keep it, and ask into the void
                talk.close()


async def _question(reader: asyncio.StreamReader) -> dict[str, str]:
    """Read what Postfix asks: lines `name=value` up to an empty one; nothing at the end."""
    asked: dict[str, str] = {}
    while line := (await reader.readline()).decode().strip("\n"):
        name, _, value = line.partition("=")
        asked[name] = value
    return asked
