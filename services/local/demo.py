"""Acts a sample day out against a running installation, waits until everything is done, and judges the outcome.

One rule: it judges by what the service hands out: on the topics nothing may be lost, no invariant broken, and the exported
log, run offline, must give record for record what stands there; notes must be in the archive, and whispers in no mail or page.
"""

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from schemas.topics import EVENTS, ROUTER_STATE
from services.local import accounts, export, inspection, sample_day, verify
from services.local.accounts import Accounts
from services.local.arrivals import built_in_curve
from services.local.errors import LocalError
from services.local.installation import Installation
from services.local.play import Played, play
from services.local.progress import Progress, silent
from services.local.replay import replay
from services.local.scenario import Scenario
from services.local.topic_log import TopicLog
from services.local.verify import Verified

CHATS = 2_000
DAY_MS = 30_000
PACE = 40.0
TICK_INTERVAL_MS = 100
"""An offer rings 0.5 s, a visitor waits 3 s, a first reply is due in 3 s."""
PARTITIONS = 6
SETTLE_LIMIT_S = 90.0
"""How long mails, feeds and transcripts may take after the last chat has ended."""
_POLL_INTERVAL_S = 0.5
_SETTLING, _CHECKING = "waiting for mails, transcripts and feeds", "checking every record"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the day came to."""

    wanted_chats: int
    accounts: Accounts
    played: Played
    verified: Verified
    replayed: list[str]
    """How the offline run differs from the topics; empty where it does not."""
    archived_notes: int
    leaks: list[str]
    """Where visitors could read a whisper."""
    waits_ms: list[int]
    """From the append of a record until the first decision on it could be read, in order of size."""

    @property
    def violations(self) -> int:
        """Return how many invariants were found broken, a differing offline run included."""
        return len(self.verified.violations) + len(self.replayed)

    @property
    def line(self) -> str:
        """Return the last line of a demo that went well."""
        books = self.accounts
        return (
            f"demo ok: chats={books.chats} handled={books.outcomes('handled')}"
            f" handled_by_bot={books.outcomes('handled_by_bot')} missed={books.outcomes('missed')}"
            f" bot_transfer_failed={books.missed_by_tag['bot_transfer_failed']} mails={books.mails.total()}"
            f" activities={books.activities} dead_letters={books.dead_letters} lost={len(books.lost())}"
            f" violations={self.violations}"
        )

    def wait_ms(self, share: float) -> int:
        """Return the wait that so large a share of the records did not exceed."""
        return (
            self.waits_ms[min(int(share * len(self.waits_ms)), len(self.waits_ms) - 1)]
            if self.waits_ms
            else 0
        )

    def failures(self) -> list[str]:
        """Return what is wrong, worst first, one sentence each; empty when all is well."""
        books = self.accounts
        ended = sum(books.outcomes(outcome) for outcome in ("handled", "handled_by_bot", "missed"))
        wrong = [f"lost: {sentence}" for sentence in books.lost()]
        wrong += [
            f"invariant {broken.invariant}: {broken.subject}: {broken.what}"
            for broken in self.verified.violations
        ]
        wrong += [f"the offline run differs: {sentence}" for sentence in self.replayed]
        if self.played.open_chats:
            wrong.append(f"{self.played.open_chats} chats had no outcome when the play ended")
        if books.chats != self.wanted_chats:
            wrong.append(f"{books.chats} of {self.wanted_chats} chats were accepted")
        if ended != books.chats:
            wrong.append(f"{ended} of {books.chats} chats have an outcome")
        if books.mails_failed:
            wrong.append(f"{books.mails_failed} recipients got no mail")
        if self.archived_notes != books.notes:
            wrong.append(f"{self.archived_notes} of {books.notes} notes are in the archive")
        wrong += [f"a whisper can be read in {where}" for where in self.leaks]
        if books.dead_letters != 1:
            wrong.append(f"{books.dead_letters} dead letters, where one record is poison")
        return wrong


def day_of(*, chats: int, seed: int) -> Scenario:
    """Return the demo's day: its shape kept, in half a minute."""
    return sample_day.make(chats=chats, seed=seed, curve=built_in_curve(), day_ms=DAY_MS, pace=PACE)


async def act_out(
    day: Scenario, installation: Installation, *, group: str, progress: Progress = silent
) -> Outcome:
    """Play the day, wait until it is settled, and judge it. The input topic may hold nothing but ticks before.

    `group` is the router's. Raises LocalError.
    """
    bootstrap = installation.bootstrap
    async with TopicLog(bootstrap, (*accounts.TOPICS, ROUTER_STATE)) as log:
        await log.catch_up()
        if not all(export.is_tick(record) for record in log.all_of(EVENTS)):
            raise LocalError(f"{EVENTS} at {bootstrap} holds events already: the demo needs one without any.")
        played = await play(day, bootstrap=bootstrap, progress=progress, check=installation.check)
        books = Accounts()
        await _settle(log, books, installation, group=group, progress=progress)
        progress(_CHECKING, done=0, total=3)
        offsets = await verify.committed_offsets(bootstrap, group=group)
        books.take(record for record in await verify.catch_up(log) if record.topic != ROUTER_STATE)
        verified = verify.check(log, offsets=offsets)
        progress(_CHECKING, done=1, total=3)
        replayed = _replay(log)
        progress(_CHECKING, done=2, total=3)
        notes = inspection.archived_notes(installation.archive_url)
        leaks = await asyncio.to_thread(_leaks, books, installation)
        progress(_CHECKING, done=3, total=3)
        waits_ms = _waits_ms(log, played)
        return Outcome(day.head.chats, books, played, verified, replayed, notes, leaks, waits_ms)


async def _settle(
    log: TopicLog, books: Accounts, installation: Installation, *, group: str, progress: Progress
) -> None:
    """Read on until nothing is missing any more, or for as long as it may take."""
    ends_s = time.monotonic() + SETTLE_LIMIT_S
    most = 1
    while True:
        offsets = await verify.committed_offsets(installation.bootstrap, group=group)
        books.take(record for record in await log.catch_up() if record.topic != ROUTER_STATE)
        missing = len(books.lost()) + _undecided(log, offsets)
        missing += max(0, books.notes - inspection.archived_notes(installation.archive_url))
        most = max(most, missing)
        progress(_SETTLING, done=most - missing, total=most)
        installation.check()
        if not missing or time.monotonic() > ends_s:
            return
        await asyncio.sleep(_POLL_INTERVAL_S)


def _leaks(books: Accounts, installation: Installation) -> list[str]:
    """Look for whispers where visitors could read them."""
    mails = sorted(installation.mailbox.folder.glob("*.eml"))
    return inspection.leaks(books.whispers, mails=mails, links=books.whispered_links)


def _undecided(log: TopicLog, offsets: dict[int, int]) -> int:
    """Return how many inputs the router has not processed yet, ticks aside: what follows from them is missing, unbeknown to the books."""
    return sum(
        1
        for record in log.all_of(EVENTS)
        if record.offset >= offsets.get(record.partition, 0) and not export.is_tick(record)
    )


def _replay(log: TopicLog) -> list[str]:
    """Export what was read, run it offline, and compare."""
    with tempfile.TemporaryDirectory(prefix="chat-routing-") as folder:
        path = Path(folder) / "events.jsonl"
        with path.open("wb") as handle:
            handle.writelines(export.lines(log))
        return verify.replay_differs(replay(path), log)


def _waits_ms(log: TopicLog, played: Played) -> list[int]:
    return sorted(
        played.heard_at_ms[record.partition, record.offset] - record.timestamp_ms
        for record in log.all_of(EVENTS)
        if (record.partition, record.offset) in played.heard_at_ms
    )
