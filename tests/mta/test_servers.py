"""Workspaces with a mail server and an account of their own, as the secret file names them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.notifier.core import compose
from services.notifier.message import Scribe
from services.notifier.servers import Outlets, Servers
from services.notifier.settings import NotifierSettings
from services.notifier.smtp import MAIL_LIMITS
from services.runtime.effects import Unavailable
from services.runtime.metrics import Metrics
from tests.mta.postfix import PASSWORD, USER, Postfix
from tests.notifier.samples import RULES, envelope, letter, reply
from tests.notifier.test_message import parsed

pytestmark = pytest.mark.mta

SALES = "sales@example.com"


async def test_each_workspace_sends_by_its_own_server_and_account(
    postfix: Postfix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(postfix.authority))
    account = {"host": "127.0.0.1", "user": USER, "password": PASSWORD}
    servers = {
        "acme": {**account, "port": postfix.ports["secure"], "tls": "starttls"},
        "bell": {**account, "port": postfix.ports["tls"], "tls": "tls"},
        "cobb": {**account, "port": postfix.ports["secure"], "tls": "starttls", "password": "another's"},
    }
    path = tmp_path / "servers"
    path.write_text(json.dumps(servers))
    settings = NotifierSettings(
        link_secret=SecretStr("the secret of the tests"),
        smtp_servers_file=path,
        smtp_port=postfix.ports["plain"],
        mail_from="chats@example.com",
    )
    scribe = Scribe(default_from=settings.mail_from)
    limits = replace(MAIL_LIMITS, calls_max=settings.smtp_connections_max)
    ways = {}
    ways_out = Servers(default=settings.server(), own=settings.servers(), limits=limits)
    with Outlets(ways_out, metrics=Metrics()) as outlets:
        for workspace_id in ("acme", "bell", "cobb", "dent"):
            record = replace(envelope(reply(letter=letter("en", SALES))), workspaceid=workspace_id)
            mail = compose(record, RULES)
            assert mail is not None
            written = scribe.write(mail, mail.recipients)
            send = outlets.of(workspace_id).post.send(written, [SALES])
            if workspace_id == "cobb":
                with pytest.raises(Unavailable, match="smtp_login"):
                    await send
                continue
            assert await send == {}
            (delivered,) = await postfix.mails(SALES)
            ways[workspace_id] = str(parsed(delivered)["Received"])
            postfix.empty()
    for workspace_id in ("acme", "bell"):
        assert "with ESMTPSA" in ways[workspace_id]
        assert "using TLSv1.3" in ways[workspace_id]
    assert "with ESMTP " in ways["dent"], "without a server of its own it goes by the default one"
