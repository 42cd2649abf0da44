"""From a record to its outcome: claim, send, settle, report.

The one rule: a record is done when every recipient has an outcome in `chat.deliveries.v1`. What the ledger holds as
settled is not sent again; an outcome that may not have been written is written again, under the same id.
SMTP can't be asked whether a mail arrived: after a crash in the middle of sending, it is sent again with the same Message-ID.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from schemas import codec
from schemas.decisions import Cause
from schemas.envelope import Envelope
from schemas.outcomes import MailSettled
from schemas.topics import DELIVERIES
from services.notifier.core import Mail, Recipient, Rules, compose, digest
from services.notifier.message import Scribe, Written
from services.runtime.effects import Downstream, Refused, Transient
from services.runtime.ledger import Ledger
from services.runtime.logs import log
from services.runtime.metrics import Metrics

SOURCE: Final = "/services/notifier"
SENT: Final = "sent"


class Posts(Protocol):
    """What sends a mail: `smtp.Post`."""

    async def send(self, written: Written, recipients: tuple[str, ...]) -> dict[str, Refused | Transient]:
        """Sends one mail; returns the recipients who were not taken. Raises what holds for all of them."""


class Writes(Protocol):
    """What writes outcomes: `EffectsApp.write`."""

    async def __call__(self, topic: str, *, workspace_id: str, value: bytes) -> None:
        """Writes a record and waits until it stands in the log."""


class Mailer:
    """The handler of every topic the notifier reads."""

    def __init__(
        self,
        *,
        rules: Rules,
        scribe: Scribe,
        ledger: Ledger,
        post: Posts,
        server: Downstream,
        write: Writes,
        metrics: Metrics,
        now_ms: Callable[[], int],
    ) -> None:
        self._rules = rules
        self._scribe = scribe
        self._ledger = ledger
        self._post = post
        self._server = server
        self._write = write
        self._metrics = metrics
        self._now_ms = now_ms
        self._log = log(__name__)

    async def handle(self, envelope: Envelope[str, Any]) -> None:
        """Does all that follows from a record."""
        mail = compose(envelope, self._rules)
        if mail is None:
            return
        targets = [recipient.target for recipient in mail.recipients]
        standings = await self._ledger.claim(mail.effect_id, targets, now_ms=self._now_ms())
        outcomes = {
            target: standing.outcome for target, standing in standings.items() if standing.state == "settled"
        }
        todo = tuple(each for each in mail.recipients if standings[each.target].state in {"new", "unknown"})
        if todo:
            outcomes.update(await self._delivered(mail, todo))
        await self._report(
            mail, {target: outcome or SENT for target, outcome in outcomes.items()}, envelope.id
        )

    async def _delivered(self, mail: Mail, todo: tuple[Recipient, ...]) -> dict[str, str]:
        """The outcome of each recipient, settled in the ledger as soon as it is known."""
        outcomes = {each.target: each.refused for each in todo if each.refused is not None}
        if outcomes:
            await self._ledger.settle(mail.effect_id, outcomes, now_ms=self._now_ms())
        left = {each.address: each.target for each in todo if each.refused is None}
        if not left:
            return outcomes
        written = self._scribe.write(mail, tuple(each for each in todo if each.refused is None))

        async def send() -> None:
            refused = await self._post.send(written, tuple(left))
            settled = {
                left.pop(address): SENT if failure is None else failure.code
                for address in tuple(left)
                if not isinstance(failure := refused.get(address), Transient)
            }
            await self._ledger.settle(mail.effect_id, settled, now_ms=self._now_ms())
            outcomes.update(settled)
            if left:
                raise next(failure for failure in refused.values() if isinstance(failure, Transient))

        try:
            await self._server.call(send)
        except (Refused, Transient) as failure:
            given_up = dict.fromkeys(left.values(), failure.code)
            await self._ledger.settle(mail.effect_id, given_up, now_ms=self._now_ms())
            outcomes.update(given_up)
        return outcomes

    async def _report(self, mail: Mail, outcomes: dict[str, str], cause_id: str) -> None:
        writes: list[Awaitable[None]] = []
        for target, outcome in outcomes.items():
            sent = outcome == SENT
            settled = MailSettled(
                notice_id=mail.effect_id,
                kind=mail.kind,
                recipient=target,
                result="sent" if sent else "failed",
                chat_id=mail.chat_id,
                code=None if sent else outcome,
            )
            value = codec.encode(
                settled,
                event_id=digest("mail.settled", mail.workspace_id, mail.effect_id, mail.kind, target),
                source=SOURCE,
                at_ms=self._now_ms(),
                workspace_id=mail.workspace_id,
                cause=Cause(event_id=cause_id),
            )
            writes.append(self._write(DELIVERIES, workspace_id=mail.workspace_id, value=value))
        await asyncio.gather(*writes)
        await self._ledger.report(mail.effect_id, list(outcomes), now_ms=self._now_ms())
        for outcome in outcomes.values():
            self._metrics.add("effects", kind=mail.kind, result="sent" if outcome == SENT else "failed")
            if outcome != SENT:
                self._log.warning("mail_failed", kind=mail.kind, effect=mail.effect_id, code=outcome)
