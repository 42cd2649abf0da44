"""What a run came to, counted from the topics: outcomes, offers, mails, activities, and what is lost.

One rule: it counts what stands in the topics and what follows from that by the contract; nothing of it comes from whoever
published. Lost is what should stand there and does not: an outcome of an accepted request, the transcript of an outcome, a mail
to somebody, an entry in a feed, the end of a transfer.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from schemas import codec
from schemas.decisions import (
    ChatAssigned,
    ChatClosed,
    ChatMissed,
    ChatOffered,
    ChatTransferred,
    ChatUnassigned,
    MissedUpdated,
    OfferWithdrawn,
    ParticipantJoined,
    RequestRefused,
    TransferFailed,
)
from schemas.envelope import Envelope, PartitionEnvelope
from schemas.events import ChatMessage, ChatNoteAdded, ChatRequested
from schemas.notices import (
    Letter,
    NoticeCrmConfigured,
    NoticeCrmRequested,
    NoticeFeedback,
    NoticeIpBlocked,
    NoticeReply,
    NoticeUnattended,
)
from schemas.outcomes import CrmSettled, MailSettled
from schemas.topics import ACTIVITIES, DELIVERIES, EVENTS, NOTICES, ROUTING, TRANSCRIPTS, dead_letters
from schemas.transcripts import TranscriptCompleted
from services.runtime.deadletter import read_letter
from services.runtime.ports import InputRecord

LETTERS = tuple(
    dead_letters(topic) for topic in (EVENTS, ROUTING, NOTICES, TRANSCRIPTS, DELIVERIES, ACTIVITIES)
)
TOPICS = (EVENTS, ROUTING, NOTICES, TRANSCRIPTS, DELIVERIES, ACTIVITIES, *LETTERS)
"""The topics that are counted."""
_CODECS = {
    EVENTS: codec.events,
    ROUTING: codec.decisions,
    NOTICES: codec.notices,
    TRANSCRIPTS: codec.transcripts,
    DELIVERIES: codec.deliveries,
    ACTIVITIES: codec.activities,
}
_NO_CRM = "none"
_Chat: TypeAlias = tuple[str, str]
"""Workspace and chat."""


class Accounts:
    """The books of a run. `take` records of any topic, in order per topic and partition, as they come."""

    def __init__(self) -> None:
        self._requests: dict[_Chat, str] = {}
        self._refused: set[tuple[str, str]] = set()
        self._closed: dict[tuple[str, str, int], ChatClosed] = {}
        self._last: dict[_Chat, ChatClosed] = {}
        self._missed: dict[_Chat, ChatMissed] = {}
        self._transcripts: dict[tuple[str, str, int], TranscriptCompleted] = {}
        self._crm: set[str] = set()
        self._crm_requests: set[tuple[str, str]] = set()
        self._mails_due: Counter[tuple[str, ...]] = Counter()
        self._mails_settled: Counter[tuple[str, ...]] = Counter()
        self._mails_sent: dict[tuple[str, str], str] = {}
        self._mails_failed = 0
        self._crm_settled: dict[tuple[str, ...], CrmSettled] = {}
        self._leads: set[tuple[str, str]] = set()
        self._letters: set[tuple[str, int, int]] = set()
        self._offers: set[tuple[str, str]] = set()
        self._transfers: dict[_Chat, None] = {}
        self._notes: set[tuple[str, str]] = set()
        self._whispers: dict[_Chat, list[str]] = {}
        self.accepted = 0
        self.withdrawn: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.transfers: Counter[str] = Counter()
        self.joined: Counter[str] = Counter()
        self.inbox: Counter[str] = Counter()

    def take(self, records: Iterable[InputRecord]) -> None:
        """Enter more records; what can't be read is in a dead-letter topic and counts there."""
        for record in records:
            if record.topic in LETTERS:
                self._letter(record)
                continue
            try:
                envelope = _CODECS[record.topic].decode(record.value)
            except (codec.Poison, codec.UnknownType):
                continue
            if isinstance(envelope, PartitionEnvelope) or record.key != envelope.workspaceid.encode():
                continue
            self._enter(envelope)

    def _letter(self, record: InputRecord) -> None:
        letter = read_letter(record)
        if letter is not None:
            self._letters.add((letter.topic, record.partition, letter.offset))

    def _enter(self, envelope: Envelope[str, Any]) -> None:
        workspace_id, data = envelope.workspaceid, envelope.data
        match data:
            case ChatRequested():
                self._requests.setdefault((workspace_id, data.chat_id), envelope.id)
            case RequestRefused():
                self._refused.add((workspace_id, data.request_id))
                self.refusals[data.request_type] += 1
            case ChatMessage() if data.internal:
                self._whispers.setdefault((workspace_id, data.chat_id), []).append(data.text)
            case ChatNoteAdded():
                self._notes.add((workspace_id, envelope.id))
            case ChatOffered():
                self._offers.add((workspace_id, data.offer_id))
                if data.kind == "transfer":
                    self._transfers[workspace_id, data.chat_id] = None
            case ChatAssigned():
                self.accepted += data.by in ("accept", "transfer")
            case OfferWithdrawn():
                self.withdrawn[data.reason] += 1
            case ChatTransferred():
                self._transfer_ended((workspace_id, data.chat_id), "taken")
            case TransferFailed():
                self._transfer_ended((workspace_id, data.chat_id), "failed")
            case ChatUnassigned():
                self._transfer_ended((workspace_id, data.chat_id), "overtaken")
            case ParticipantJoined():
                self.joined[data.role] += 1
            case MissedUpdated():
                self.inbox[data.status] += 1
            case ChatMissed():
                self._missed[workspace_id, data.chat_id] = data
            case ChatClosed():
                self._closed[workspace_id, data.chat_id, data.revision] = data
                self._last[workspace_id, data.chat_id] = data
                self._transfer_ended((workspace_id, data.chat_id), "overtaken")
            case _:
                self._enter_effect(workspace_id, data)

    def _enter_effect(self, workspace_id: str, data: Any) -> None:
        """Enter what the workers are to do, or have done, outside."""
        match data:
            case NoticeCrmConfigured():
                (self._crm.discard if data.connector == _NO_CRM else self._crm.add)(workspace_id)
            case NoticeCrmRequested():
                self._crm_requests.add((workspace_id, data.request_id))
            case NoticeUnattended() | NoticeIpBlocked() | NoticeFeedback() | NoticeReply():
                self._mails_due[workspace_id, data.notice_id] += _addressees(data.letter)
            case TranscriptCompleted() if data.part == 1:
                self._transcripts[workspace_id, data.chat_id, data.revision] = data
                if data.outcome != "missed":
                    to = Letter(data.email.transcript, data.email.language, data.email.timezone)
                    self._mails_due[workspace_id, "transcript", data.chat_id] += _addressees(to)
            case MailSettled():
                self._mail_settled(workspace_id, data)
            case CrmSettled():
                self._crm_done(workspace_id, data)
            case _:
                pass

    def _transfer_ended(self, chat: _Chat, how: str) -> None:
        """A transfer ends by itself, or is overtaken by the end of its chat or the loss of its owner."""
        if chat in self._transfers:
            del self._transfers[chat]
            self.transfers[how] += 1

    def _mail_settled(self, workspace_id: str, data: MailSettled) -> None:
        if data.kind == "transcript" and data.chat_id is not None:
            self._mails_settled[workspace_id, "transcript", data.chat_id] += 1
        else:
            self._mails_settled[workspace_id, data.notice_id] += 1
        if data.result == "sent":
            self._mails_sent[workspace_id, data.notice_id] = data.kind
        else:
            self._mails_failed += 1

    def _crm_done(self, workspace_id: str, data: CrmSettled) -> None:
        if data.request_id is not None:
            self._crm_settled[workspace_id, data.request_id] = data
        elif data.kind == "activity":
            self._crm_settled[workspace_id, data.chat_id or "", str(data.revision)] = data
        if data.kind == "lead" and data.result == "done" and data.record is not None:
            self._leads.add((workspace_id, data.record.id))

    # ------------------------------------------------------------ what it comes to

    @property
    def chats(self) -> int:
        """Return how many requests were accepted."""
        return len(self._accepted())

    @property
    def offers(self) -> int:
        """Return how many offers were made; one that rings many agents is one."""
        return len(self._offers)

    def outcomes(self, outcome: str) -> int:
        """Return how many accepted chats ended so, by the outcome of their last revision."""
        return sum(
            1 for chat in self._accepted() if chat in self._last and self._last[chat].outcome == outcome
        )

    @property
    def missed_by_reason(self) -> Counter[str]:
        """Return the missed chats by reason."""
        return Counter(missed.reason for missed in self._missed_for_good())

    @property
    def missed_by_tag(self) -> Counter[str]:
        """Return the missed chats by tag."""
        return Counter(missed.tag for missed in self._missed_for_good())

    @property
    def mails(self) -> Counter[str]:
        """Return the mails that were sent, by kind; one to several people counts once."""
        return Counter(self._mails_sent.values())

    @property
    def mails_failed(self) -> int:
        """Return how many recipients got nothing."""
        return self._mails_failed

    @property
    def activities(self) -> int:
        """Return the entries made in feeds."""
        return sum(
            1 for data in self._crm_settled.values() if data.kind == "activity" and data.result == "done"
        )

    @property
    def leads(self) -> int:
        """Return the leads that were created."""
        return len(self._leads)

    @property
    def unmatched(self) -> int:
        """Return the conversations whose visitor the CRM does not know."""
        return sum(1 for data in self._crm_settled.values() if data.result == "no_match")

    @property
    def notes(self) -> int:
        """Return the notes that were taken."""
        return len(self._notes - self._refused)

    @property
    def crm_requests(self) -> int:
        """Return what agents asked of the CRM and were allowed to."""
        return len(self._crm_requests)

    @property
    def whispers(self) -> list[str]:
        """Return what was said between agents alone."""
        return [text for texts in self._whispers.values() for text in texts]

    @property
    def whispered_links(self) -> list[str]:
        """Return the addresses of the pages of conversations in which somebody whispered."""
        return [
            data.link
            for (workspace_id, chat_id, _), data in self._transcripts.items()
            if (workspace_id, chat_id) in self._whispers
        ]

    @property
    def dead_letters(self) -> int:
        """Return the records that were refused as unreadable, each once however many readers refused it."""
        return len(self._letters)

    def lost(self) -> list[str]:
        """Return what should stand in the topics and does not, one sentence each."""
        return [
            *self._without_outcome(),
            *self._without_transcript(),
            *self._without_mail(),
            *self._without_entry(),
            *(f"the transfer of chat {chat} of {ws} has not ended" for ws, chat in self._transfers),
        ]

    def _accepted(self) -> list[_Chat]:
        return [chat for chat, event_id in self._requests.items() if (chat[0], event_id) not in self._refused]

    def _missed_for_good(self) -> Iterator[ChatMissed]:
        for chat, closed in self._last.items():
            if closed.outcome == "missed" and chat in self._missed:
                yield self._missed[chat]

    def _without_outcome(self) -> Iterator[str]:
        for chat in self._accepted():
            if chat not in self._last:
                yield f"chat {chat[1]} of {chat[0]} has no outcome"

    def _without_transcript(self) -> Iterator[str]:
        for workspace_id, chat_id, revision in self._closed.keys() - self._transcripts.keys():
            yield f"chat {chat_id} of {workspace_id}, revision {revision}, has no transcript"

    def _without_mail(self) -> Iterator[str]:
        for about, due in self._mails_due.items():
            if self._mails_settled[about] < due:
                yield f"{due - self._mails_settled[about]} mails about {about[-1]} of {about[0]} are not settled"

    def _without_entry(self) -> Iterator[str]:
        for workspace_id, chat_id, revision in self._transcripts:
            if workspace_id in self._crm and (workspace_id, chat_id, str(revision)) not in self._crm_settled:
                yield f"chat {chat_id} of {workspace_id}, revision {revision}, has no outcome in the CRM"
        for workspace_id, request_id in self._crm_requests:
            if (workspace_id, request_id) not in self._crm_settled:
                yield f"CRM request {request_id} of {workspace_id} is not settled"


def _addressees(letter: Letter) -> int:
    """Return to how many different addresses a letter goes."""
    parts = (part.strip() for text in (*letter.to, *letter.cc) for part in text.split(","))
    return len({part.lower() for part in parts if part})
