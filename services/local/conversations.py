"""How a conversation goes once an agent has it: lines in turn, a hand-over in the middle, a colleague asked in, the end.

One rule: the owner speaks, whoever that is by then. A step planned for an earlier generation of the chat is void.
"""

from collections.abc import Iterable
from functools import partial

from schemas.decisions import ChatAssigned, ChatUnassigned, TransferFailed
from schemas.events import (
    By,
    ChatEndRequested,
    ChatInviteRequested,
    ChatTransferRequested,
    Sender,
    VisitorIpBlocked,
)
from services.local.crowd import CONSOLE, WIDGET, Chat, Crowd, Published
from services.local.scenario import Handover, Say
from services.local.visitors import leave, speaker


class Conversations:
    """All conversations of a scenario."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd

    def assigned(self, assignment: ChatAssigned, now_ms: int) -> None:
        """Somebody has the chat and goes on where it stands."""
        chat = self._crowd.live(assignment.chat_id)
        if chat is None:
            return
        chat.asked.clear()
        chat.owner = chat.last_owner = assignment.agent_id
        chat.taken = True
        person = self._crowd.people.get(assignment.agent_id)
        if person is not None:
            person.chats[chat.id] = chat
        self.resume(chat, now_ms)
        invitation = chat.visit.conduct.invitation
        if invitation is not None and chat.first("invitation"):
            self._crowd.at(now_ms + invitation.after_ms, partial(self._invite, chat, chat.generation))

    def unassigned(self, unassignment: ChatUnassigned) -> None:
        """Nobody has the chat."""
        chat = self._crowd.chats.get(unassignment.chat_id)
        if chat is not None:
            self._crowd.disown(chat)

    def handover_failed(self, failure: TransferFailed, now_ms: int) -> None:
        """Nobody took the chat: its owner speaks again."""
        chat = self._crowd.live(failure.chat_id)
        if chat is not None:
            self.resume(chat, now_ms)

    def resume(self, chat: Chat, now_ms: int) -> None:
        """Go on with a conversation, instead of whatever was planned in it."""
        chat.generation += 1
        self._go_on(chat, now_ms)

    def _go_on(self, chat: Chat, now_ms: int) -> None:
        """Plan the next step."""
        conduct = chat.visit.conduct
        if chat.over or not conduct.agent_writes:
            return
        handover = conduct.handover
        if handover is not None and chat.step == handover.after_lines and "handover" not in chat.done:
            act = partial(self._hand_over, chat, chat.generation, handover)
            self._crowd.at(now_ms + handover.after_ms, act)
        elif chat.step < len(conduct.dialogue):
            said = conduct.dialogue[chat.step]
            self._crowd.at(now_ms + said.after_ms, partial(self._say, chat, chat.generation, said))
        else:
            self._crowd.at(now_ms + conduct.ends_after_ms, partial(self._end, chat, chat.generation))

    def _say(self, chat: Chat, generation: int, said: Say, now_ms: int) -> Iterable[Published]:
        if not chat.goes_on(generation) or chat.owner is None:
            return
        if said.by == "agent":
            if not self._crowd.present(chat.owner):
                return
            yield chat.message(Sender("agent", chat.owner), said.text, source=CONSOLE)
        else:
            yield chat.message(speaker(chat), said.text, source=WIDGET)
        chat.step += 1
        self._go_on(chat, now_ms)

    # ------------------------------------------------------------ colleagues

    def _hand_over(self, chat: Chat, generation: int, handover: Handover, now_ms: int) -> Iterable[Published]:
        owner = chat.owner
        if not chat.goes_on(generation) or owner is None or not self._crowd.present(owner):
            return
        chat.done.add("handover")
        colleague = None if handover.to_department_id else self._crowd.colleague_of(owner)
        if colleague is None and handover.to_department_id is None:
            self._go_on(chat, now_ms)
            return
        wish = ChatTransferRequested(chat.id, owner, colleague, handover.to_department_id, handover.message)
        publication = chat.publication("handover", CONSOLE, wish)
        self._crowd.when_refused(publication.event_id, partial(self.resume, chat))
        yield publication

    def _invite(self, chat: Chat, generation: int, _now_ms: int) -> Iterable[Published]:
        invitation = chat.visit.conduct.invitation
        if not chat.goes_on(generation) or chat.owner is None or invitation is None:
            return
        colleague = self._crowd.colleague_of(chat.owner)
        if colleague is not None:
            wish = ChatInviteRequested(chat.id, chat.owner, colleague, invitation.message)
            yield chat.publication("invite", CONSOLE, wish)

    # ------------------------------------------------------------ the end

    def _end(self, chat: Chat, generation: int, now_ms: int) -> Iterable[Published]:
        conduct = chat.visit.conduct
        if not chat.goes_on(generation):
            return
        match conduct.ends:
            case "leaves":
                yield from leave(chat, now_ms)
            case "agent":
                yield from self._agent_ends(chat, now_ms)
            case _:
                chat.visitor_gone = True
                by = By("visitor", chat.visit.asked.visitor.visitor_id)
                yield chat.publication("end", WIDGET, ChatEndRequested(chat.id, by))

    def _agent_ends(self, chat: Chat, now_ms: int) -> Iterable[Published]:
        asked, conduct, owner = chat.visit.asked, chat.visit.conduct, chat.owner
        if owner is None or not self._crowd.present(owner):
            return
        by, farewell = By("agent", owner), conduct.farewell
        if farewell is not None and chat.first("farewell"):
            yield chat.publication(
                "end-later", CONSOLE, ChatEndRequested(chat.id, by, farewell.waits_ms / 1000)
            )
            act = partial(self._say_more, chat, chat.generation, farewell.visitor_says)
            self._crowd.at(now_ms + farewell.says_after_ms, act)
            return
        if conduct.blocks_ip and asked.visitor.ip is not None:
            block = VisitorIpBlocked(
                asked.visitor.ip, owner, department_id=asked.department_id, chat_id=chat.id
            )
            yield chat.publication("block", CONSOLE, block)
        yield chat.publication("end", CONSOLE, ChatEndRequested(chat.id, by))

    def _say_more(self, chat: Chat, generation: int, text: str, now_ms: int) -> Iterable[Published]:
        """The visitor has one more thing to say, which keeps the chat from ending."""
        if chat.goes_on(generation):
            yield chat.message(speaker(chat), text, source=WIDGET)
            self._go_on(chat, now_ms)
