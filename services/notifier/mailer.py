"""From a record to its outcome: claim, send, settle, report.

The one rule: a record is done when every recipient has an outcome in `chat.deliveries.v1`. What the ledger holds as
settled is not sent again, nor what this process remembers to have sent; an outcome that may not have been written is written again, under the same id.
A record that an operator has put back (`RESENT`) is an effect of its own, `again`: so it, too, is done once, however often it was put.
SMTP can't be asked whether a mail arrived: after a crash in the middle of sending, or without an answer, it is sent again
with the same Message-ID. `Away` goes through to the caller, which brings the record again when the server may be back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

from schemas import codec
from schemas.decisions import Cause
from schemas.envelope import Envelope
from schemas.notices import NoticeUnattended
from schemas.outcomes import MailSettled
from schemas.topics import DELIVERIES
from services.notifier.core import (
    RESENT,
    Digest,
    Mail,
    Recipient,
    Rules,
    again,
    compose,
    compose_digest,
    digest,
)
from services.notifier.digest import DigestDue, Digests
from services.notifier.message import Scribe
from services.notifier.servers import Outlet
from services.notifier.smtp import SMTPUTF8_MISSING
from services.runtime.effects import Refused, Transient, Unknown
from services.runtime.ledger import Ledger
from services.runtime.logs import log
from services.runtime.metrics import Metrics

SOURCE: Final = "/services/notifier"
SENT: Final = "sent"
UNKNOWN_TRIES_MAX: Final = 4
"""Times a mail is sent whose answer never comes; each may have reached its recipients."""
UNSETTLED_MAX: Final = 10_000
"""Mails sent whose outcome the ledger would not take, remembered: more than any worker has in flight."""


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
        digests: Digests,
        outlet_of: Callable[[str], Outlet],
        write: Writes,
        metrics: Metrics,
        now_ms: Callable[[], int],
    ) -> None:
        self._rules = rules
        self._scribe = scribe
        self._ledger = ledger
        self._digests = digests
        self._outlet_of = outlet_of
        self._write = write
        self._metrics = metrics
        self._now_ms = now_ms
        self._unsettled: dict[str, dict[str, str]] = {}
        self._unknown: dict[str, int] = {}
        self._busy: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._log = log(__name__)

    async def handle(self, envelope: Envelope[str, Any]) -> None:
        """Does all that follows from a record."""
        mail = compose(envelope, self._rules)
        if mail is not None and envelope.source == RESENT:
            mail = await self._second_life(mail)
        elif mail is not None and _waits(envelope.data) and await self._digests.keeps(envelope):
            return
        if mail is not None:
            await self._handle_once(mail, (envelope,))

    async def handle_digest(self, envelope: Envelope[str, DigestDue]) -> None:
        """Does all that follows from a digest that is due."""
        digest_id = envelope.data.digest_id
        notices = await self._digests.members(digest_id)
        if notices:
            mail = compose_digest(notices, self._rules, digest_id=digest_id)
            await self._handle_once(mail, notices)
            await self._digests.done(digest_id, effect_id=mail.effect_id)

    async def _handle_once(self, mail: Mail, causes: Sequence[Envelope[str, Any]]) -> None:
        # The same effect may stand in two records; the ledger keeps other workers from it, this lock ourselves.
        async with self._busy.setdefault(mail.effect_id, asyncio.Lock()):
            await self._handle(mail, causes)

    async def _second_life(self, mail: Mail) -> Mail | None:
        """The mail for those alone whom its first life has failed to reach."""
        first = await self._ledger.standings(mail.effect_id)
        failed = {target for target, standing in first.items() if standing.outcome not in (None, SENT)}
        to, cc = (tuple(each for each in listed if each.target in failed) for listed in (mail.to, mail.cc))
        return replace(mail, effect_id=again(mail.effect_id), to=to, cc=cc) if to or cc else None

    async def _handle(self, mail: Mail, causes: Sequence[Envelope[str, Any]]) -> None:
        targets = [recipient.target for recipient in mail.recipients]
        standings = await self._ledger.claim(mail.effect_id, targets, now_ms=self._now_ms())
        outcomes: dict[str, str] = {}
        for target, standing in standings.items():
            if standing.state == "settled":
                assert standing.outcome is not None, "settled without an outcome: it may not have been sent"
                outcomes[target] = standing.outcome
        done = {target for target, standing in standings.items() if standing.state in {"settled", "reported"}}
        todo = tuple(each for each in mail.recipients if each.target not in done)
        if todo:
            outcomes.update(await self._delivered(mail, todo))
        await self._report(mail, outcomes, causes)

    async def _delivered(self, mail: Mail, todo: tuple[Recipient, ...]) -> dict[str, str]:
        """The outcome of each recipient, settled in the ledger before anything else is waited for."""
        outcomes = dict(self._unsettled.get(mail.effect_id, {}))
        outcomes.update({each.target: each.refused for each in todo if each.refused is not None})
        await self._settle(mail.effect_id, outcomes)
        left = {each.address: each.target for each in todo if each.target not in outcomes}
        if not left:
            return outcomes
        written = self._scribe.write(mail, tuple(each for each in todo if each.refused is None))
        outlet = self._outlet_of(mail.workspace_id)

        async def send() -> dict[str, str]:
            """What became of those who got an answer for good; nothing here is waited for once the mail is away."""
            try:
                with outlet.slow.entered(frozenset(left.values())):
                    refused = await outlet.post.send(written, tuple(left))
            except Unknown as error:
                if self._tries_in_vain(mail.effect_id) >= UNKNOWN_TRIES_MAX:
                    raise Refused(error.code) from None
                self._metrics.add("effects_repeated", kind=mail.kind)
                raise
            settled = {
                left.pop(address): SENT if failure is None else failure.code
                for address in tuple(left)
                if not isinstance(failure := refused.get(address), Transient)
            }
            if not settled:
                raise next(failure for failure in refused.values() if isinstance(failure, Transient))
            self._remember(mail.effect_id, settled)
            return settled

        while left:
            try:
                settled = await outlet.downstream.call(send)
            except (Refused, Transient) as failure:
                lost = tuple(left)
                if failure.code == SMTPUTF8_MISSING:
                    # The others get theirs, in a mail that names only whom this server can write to.
                    lost = tuple(address for address in left if not address.isascii()) or lost
                settled = {left.pop(address): failure.code for address in lost}
                if left:
                    named = (each for each in todo if each.refused is None and each.address not in lost)
                    written = self._scribe.write(mail, tuple(named))
            await self._settle(mail.effect_id, settled)
            outcomes.update(settled)
        self._unknown.pop(mail.effect_id, None)
        return outcomes

    def _tries_in_vain(self, effect_id: str) -> int:
        """How often a mail was handed over without an answer, this time included; a server that is away in between changes nothing."""
        tries = self._unknown.pop(effect_id, 0) + 1
        self._unknown[effect_id] = tries
        if len(self._unknown) > UNSETTLED_MAX:
            del self._unknown[next(iter(self._unknown))]
        return tries

    def _remember(self, effect_id: str, outcomes: dict[str, str]) -> None:
        self._unsettled.setdefault(effect_id, {}).update(outcomes)
        if len(self._unsettled) > UNSETTLED_MAX:
            del self._unsettled[next(iter(self._unsettled))]

    async def _settle(self, effect_id: str, outcomes: dict[str, str]) -> None:
        await self._ledger.settle(effect_id, outcomes, now_ms=self._now_ms())
        self._unsettled.pop(effect_id, None)

    async def _report(
        self, mail: Mail, outcomes: dict[str, str], causes: Sequence[Envelope[str, Any]]
    ) -> None:
        """Writes the outcome of each notice for each recipient."""
        writes: list[Awaitable[None]] = []
        in_digest = isinstance(mail.content, Digest)
        for cause in causes:
            notice_id = cause.data.notice_id if in_digest else mail.effect_id
            for target, outcome in outcomes.items():
                sent = outcome == SENT
                settled = MailSettled(
                    notice_id=notice_id,
                    kind=mail.kind,
                    recipient=target,
                    result="sent" if sent else "failed",
                    chat_id=cause.data.chat_id if in_digest else mail.chat_id,
                    code=None if sent else outcome,
                )
                value = codec.encode(
                    settled,
                    event_id=digest("mail.settled", mail.workspace_id, notice_id, mail.kind, target),
                    source=SOURCE,
                    at_ms=self._now_ms(),
                    workspace_id=mail.workspace_id,
                    cause=Cause(event_id=cause.id),
                )
                writes.append(self._write(DELIVERIES, workspace_id=mail.workspace_id, value=value))
        await asyncio.gather(*writes)
        await self._ledger.report(mail.effect_id, list(outcomes), now_ms=self._now_ms())
        for outcome in outcomes.values():
            self._metrics.add("effects", kind=mail.kind, result="sent" if outcome == SENT else "failed")
            if outcome != SENT:
                self._log.warning("mail_failed", kind=mail.kind, effect=mail.effect_id, code=outcome)


def _waits(data: Any) -> bool:
    """Whether a mail may have to wait for others."""
    return isinstance(data, NoticeUnattended) and data.digest_s > 0
