"""The file that names SMTP servers of workspaces."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.notifier.servers import Outlets, Servers
from services.notifier.settings import NotifierSettings
from services.notifier.smtp import MAIL_LIMITS, Server
from services.runtime.effects import Away, Unavailable
from services.runtime.failures import WorkerFailed
from services.runtime.metrics import Metrics


def settings(path: Path) -> NotifierSettings:
    return NotifierSettings(
        link_secret=SecretStr("the secret of the tests"),
        smtp_servers_file=path,
        mail_from="chats@example.com",
    )


def written(folder: Path, text: str) -> Path:
    path = folder / "servers"
    path.write_text(text)
    return path


def test_a_file_of_servers(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '{"acme": {"host": "mail.acme.example", "port": 465, "tls": "tls", "user": "chats", "password": "pssst"},'
        ' "bell": {"host": "127.0.0.1"}}',
    )
    servers = settings(path).servers()
    assert servers == {
        "acme": Server(
            host="mail.acme.example",
            port=465,
            tls="tls",
            user="chats",
            password="pssst",
            local_hostname="example.com",
        ),
        "bell": Server(host="127.0.0.1", port=587, local_hostname="example.com"),
    }
    assert "pssst" not in repr(servers)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"acme": {"host": "h", "port": 70000, "password": "pssst"}}', r"acme\.port"),
        ('{"acme": {"port": 25, "password": "pssst"}}', r"acme\.host: Field required"),
        ('{"acme": {"host": "h", "tls": "pssst"}}', r"acme\.tls"),
        ('{"acme": {"host": "h", "passwort": "pssst"}}', r"acme\.passwort: Extra inputs"),
        ('{"acme": "pssst"}', "acme"),
        ('["pssst"]', "the file"),
        ("pssst", "the file: Invalid JSON"),
    ],
)
def test_what_is_wrong_is_named_and_its_value_is_not(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(WorkerFailed, match=f"CHAT_SMTP_SERVERS_FILE can't be used: .*{told}") as raised:
        settings(written(tmp_path, text)).servers()
    assert "pssst" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorkerFailed, match="CHAT_SMTP_SERVERS_FILE can't be read"):
        settings(tmp_path / "none").servers()


async def test_each_server_has_its_own_way_out_and_those_who_share_one_share_it() -> None:
    default, mine = Server(host="127.0.0.1", port=25), Server(host="127.0.0.1", port=26)
    own = {"acme": mine, "bell": mine, "cobb": Server(host="127.0.0.1", port=26, user="cobb")}
    with Outlets(Servers(default=default, own=own, limits=MAIL_LIMITS), metrics=Metrics()) as outlets:
        assert outlets.of("acme") is outlets.of("bell")
        assert outlets.of("nobody's own") is outlets.of("another")
        assert len({id(outlets.of(name)) for name in ("acme", "cobb", "another")}) == 3


async def test_other_servers_are_taken_and_those_that_stay_keep_their_connections() -> None:
    default, old, new = (Server(host="127.0.0.1", port=port) for port in (25, 26, 27))
    metrics = Metrics()
    with Outlets(Servers(default=default, own={"acme": old}, limits=MAIL_LIMITS), metrics=metrics) as outlets:
        before, gone = outlets.of("another"), outlets.of("acme")
        for _ in range(MAIL_LIMITS.failures_to_open):
            with pytest.raises(Away):
                await gone.downstream.call(unavailable)
        assert metrics.value("circuit_open", target="127.0.0.1:26") == 1
        outlets.take(Servers(default=default, own={"acme": new}, limits=MAIL_LIMITS))
        assert outlets.of("another") is before
        assert outlets.of("acme") is not gone
        assert metrics.value("circuit_open", target="127.0.0.1:26") == 0, "nobody waits for it any more"
        outlets.take(Servers(default=default, own={}, limits=replace(MAIL_LIMITS, calls_max=2)))
        assert outlets.of("acme") is outlets.of("another") is not before, "its limits are others"


async def unavailable() -> None:
    raise Unavailable("smtp_test")
