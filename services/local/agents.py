"""What agents do beside talking: they come and go, answer what they are offered, join when invited, and file what was said.

One rule: an agent reacts as they are wont to, unless the chat says what everybody does.
"""

from collections.abc import Iterable
from functools import partial

from schemas.decisions import AgentMarkedAway, ChatOffered, OfferWithdrawn, ParticipantJoined
from schemas.events import (
    AgentPresence,
    ChatNoteAdded,
    ChatTagsChanged,
    CrmLeadRequested,
    CrmNoteRequested,
    CrmPhoneSet,
    OfferAccepted,
    OfferDeclined,
    ParticipantLeaveRequested,
    Sender,
)
from schemas.types import OfferKind
from services.local.conversations import Conversations
from services.local.crowd import CONSOLE, Chat, Crowd, Person, Publication, Published
from services.local.scenario import Conduct, Do, Filing, Reaction


class Agents:
    """All agents of a scenario."""

    def __init__(self, crowd: Crowd, conversations: Conversations) -> None:
        self._crowd = crowd
        self._conversations = conversations

    # ------------------------------------------------------------ presence

    def presence(self, presence: AgentPresence, now_ms: int) -> None:
        """Somebody comes, and takes up again what they have; or goes."""
        person = self._crowd.people.get(presence.agent_id)
        if person is None:
            return
        person.online = presence.status == "online"
        if person.online:
            for chat in person.chats.values():
                self._conversations.resume(chat, now_ms)

    def marked_away(self, marked: AgentMarkedAway, now_ms: int) -> None:
        """Who was found not to answer comes back after a while."""
        person = self._crowd.people.get(marked.agent_id)
        if person is not None:
            act = partial(self._come_back, person)
            self._crowd.at(now_ms + person.agent.back_after_ms, act, pressing=False)

    def _come_back(self, person: Person, _now_ms: int) -> Iterable[Published]:
        agent = person.agent
        if person.online:
            person.returns += 1
            event_id = f"{agent.agent_id}-returns-{person.returns}"
            yield Publication(agent.workspace_id, event_id, CONSOLE, AgentPresence(agent.agent_id, "online"))

    # ------------------------------------------------------------ offers

    def offered(self, offer: ChatOffered, now_ms: int) -> None:
        """Those who are asked answer after a while, or let it ring."""
        chat = self._crowd.live(offer.chat_id)
        if chat is None:
            return
        asked = chat.asked.setdefault(offer.offer_id, set())
        wanted = _wanted(chat.visit.conduct, offer.kind)
        for agent_id in offer.agent_ids:
            person = self._crowd.people.get(agent_id)
            if person is None or agent_id in asked:
                continue
            asked.add(agent_id)
            reaction = person.agent.reactions[person.offers % len(person.agent.reactions)]
            person.offers += 1
            if wanted is not None:
                reaction = Reaction(wanted, reaction.after_ms)
            if reaction.do != "ring":
                act = partial(self._answer, chat, offer.offer_id, person, accepts=reaction.do == "accept")
                self._crowd.at(now_ms + reaction.after_ms, act)

    def withdrawn(self, withdrawal: OfferWithdrawn) -> None:
        """Some are asked no longer."""
        chat = self._crowd.chats.get(withdrawal.chat_id)
        if chat is not None and withdrawal.offer_id in chat.asked:
            chat.asked[withdrawal.offer_id].difference_update(withdrawal.agent_ids)

    def _answer(
        self, chat: Chat, offer_id: str, person: Person, _now_ms: int, *, accepts: bool
    ) -> Iterable[Published]:
        agent_id = person.agent.agent_id
        if not person.online or agent_id not in chat.asked.get(offer_id, ()):
            return
        kind = OfferAccepted if accepts else OfferDeclined
        answer = kind(offer_id, chat.id, agent_id)
        # Who is asked again within the same offer (gone and back) may answer twice; the id makes it one answer.
        yield Publication(chat.visit.request.workspace_id, f"{offer_id}-{agent_id}", CONSOLE, answer)

    # ------------------------------------------------------------ taking part

    def joined(self, joining: ParticipantJoined, now_ms: int) -> None:
        """Who joins says their part and goes: the invited to the visitor, who watches to the owner alone."""
        chat = self._crowd.live(joining.chat_id)
        if chat is None:
            return
        conduct, agent_id = chat.visit.conduct, joining.agent_id
        watches = joining.role == "monitor"
        if watches and conduct.watching is not None:
            text, after_ms = conduct.watching.whispers, conduct.watching.whispers_after_ms
            stays_ms = conduct.watching.stays_ms
        elif not watches and conduct.invitation is not None:
            text, after_ms = conduct.invitation.says, conduct.invitation.says_after_ms
            stays_ms = conduct.invitation.stays_ms
        else:
            return
        self._crowd.at(now_ms + after_ms, partial(self._put_in, chat, agent_id, text, internal=watches))
        self._crowd.at(now_ms + max(stays_ms, after_ms), partial(self._go_again, chat, agent_id))

    def _put_in(
        self, chat: Chat, agent_id: str, text: str, _now_ms: int, *, internal: bool
    ) -> Iterable[Published]:
        if not chat.over and self._crowd.present(agent_id):
            yield chat.message(Sender("agent", agent_id), text, source=CONSOLE, internal=internal)

    def _go_again(self, chat: Chat, agent_id: str, _now_ms: int) -> Iterable[Published]:
        if not chat.over and chat.owner != agent_id:
            yield chat.publication(f"leave-{agent_id}", CONSOLE, ParticipantLeaveRequested(chat.id, agent_id))

    # ------------------------------------------------------------ afterwards

    def handled(self, chat: Chat, now_ms: int) -> None:
        """Whoever had the chat last puts on record what is worth it."""
        filing = chat.visit.conduct.filing
        if filing is not None and chat.last_owner is not None:
            act = partial(self._file, chat, filing, chat.last_owner)
            self._crowd.at(now_ms + filing.after_ms, act)

    def _file(self, chat: Chat, filing: Filing, owner: str, _now_ms: int) -> Iterable[Published]:
        if filing.tags:
            yield chat.publication("tags", CONSOLE, ChatTagsChanged((chat.id,), owner, add=filing.tags))
        if filing.note is not None:
            note = ChatNoteAdded(chat.id, f"{chat.id}-note", owner, filing.note)
            yield chat.publication("note", CONSOLE, note)
        asks, value = filing.crm_agent_id or owner, filing.crm_value
        match filing.crm:
            case "lead":
                yield chat.publication("crm", CONSOLE, CrmLeadRequested(chat.id, asks, value))
            case "note":
                yield chat.publication("crm", CONSOLE, CrmNoteRequested(chat.id, asks, value))
            case "phone":
                yield chat.publication("crm", CONSOLE, CrmPhoneSet(chat.id, asks, value))
            case None:
                pass


def _wanted(conduct: Conduct, kind: OfferKind) -> Do | None:
    """What everybody does with an offer of this kind, where the chat says so."""
    if kind == "transfer":
        return None if conduct.handover is None else conduct.handover.agents_do
    return "accept" if kind == "invite" else conduct.agents_do
