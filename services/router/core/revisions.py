"""How a revision of a chat ends and the next one begins: missed, closed, kept in the inbox, reopened.

The one rule: these functions are called by `evolve` only; they write what was decided. But `taker` is read by `decide` too, so both
see one answer.
"""

from schemas import decisions as d
from schemas import events as e
from schemas.memory import KNOWN_CLOSED_S, KNOWN_MISSED_S
from services.router.core import asking, entering
from services.router.core.departments import Entry, choose, resolve
from services.router.core.state import Agent, Chat, Workspace


def note_available(ws: Workspace, chat: Chat) -> None:
    """Keeps who had room as the chat began, for the day it is missed."""
    chat.start_agents = entering.available(ws, chat.department_id)
    chat.start_count = len(ws.indexes[chat.department_id].with_room)


def enter_for_bot(ws: Workspace, chat: Chat, entry: Entry) -> None:
    """A bot serves first: nobody is rung, and the waiting limit runs until it replies."""
    chat.phase = "bot"
    chat.department_id = entry.department_id
    chat.entry_notes = entry.notes
    entering.restart_waiting(ws, chat)
    ws.touch(chat)


def enter_for_people(ws: Workspace, chat: Chat, event: e.BotTransferRequested) -> None:
    """Queues a bot's chat for agents; it is a bot transfer only if the bot had replied."""
    chat.transfer_requested = True
    chat.sought_clock_ms = ws.clock_ms
    chat.bot_transfer = chat.bot_replied
    chat.rung = chat.rang_out = False
    chat.asked.clear()
    ws.disarm(chat, "idle")
    entering.enter(ws, chat, resolve(ws, event.department_id or chat.department_id, by_visitor=False))


def missed(ws: Workspace, fact: d.ChatMissed) -> None:
    """The outcome is fixed; a bot that replied goes on serving, until the chat is closed."""
    chat = ws.chats[fact.chat_id]
    entering.release(ws, chat, ended=True)
    entering.depart(ws, chat, "bot")
    chat.missed_reason = fact.reason
    chat.outcome = "missed"
    chat.inbox = "open"
    entering.restart_idle(ws, chat)


def closed(ws: Workspace, fact: d.ChatClosed) -> None:
    """The outcome stands; the chat is known for as long as something may be asked about it."""
    chat = ws.chats[fact.chat_id]
    entering.release(ws, chat, ended=True)
    entering.depart(ws, chat, "closed")
    ws.disarm_all(chat)
    chat.outcome = fact.outcome
    asking.disperse(ws, chat)
    chat.visitor_gone = chat.visitor_gone or fact.ended_by == "visitor"
    in_inbox = fact.outcome == "missed" and chat.inbox != "deleted"
    ws.arm(chat, "forget", KNOWN_MISSED_S if in_inbox else KNOWN_CLOSED_S)


def inbox_updated(ws: Workspace, fact: d.MissedUpdated) -> None:
    """A deleted chat is known for as long as any other closed one from now on."""
    chat = ws.chats[fact.chat_id]
    chat.inbox = fact.status
    chat.inbox_agent_id = fact.agent_id
    if fact.status == "deleted" and not chat.live:
        ws.arm(chat, "forget", KNOWN_CLOSED_S)
    ws.touch(chat)


def taker(ws: Workspace, chat: Chat) -> Agent | None:
    """The agent who goes on with a missed chat when its visitor writes: whom it was assigned to, if they are online and have room."""
    agent = ws.agent(chat.inbox_agent_id)
    return agent if agent is not None and agent.status == "online" and agent.room >= chat.cost else None


def reopened(ws: Workspace, fact: d.ChatReopened) -> None:
    """The chat lives again, with its original age; what was so in the last revision counts no more.

    One that its bot served alone is the bot's again; any other rings people, who were missing.
    """
    chat = ws.chats[fact.chat_id]
    agent_follows = isinstance(ws.event, e.MissedAssignRequested) or taker(ws, chat) is not None
    ws.disarm_all(chat)
    chat.revision = fact.revision
    chat.started_ms = ws.now_ms
    chat.sought_clock_ms = ws.clock_ms
    chat.agent_replied = chat.assigned_once = chat.bot_transfer = chat.visitor_gone = False
    chat.rung = chat.rang_out = False
    chat.missed_reason = chat.outcome = chat.inbox = chat.inbox_agent_id = chat.ending_by = None
    chat.asked.clear()
    chat.served_ids.clear()
    chat.phase = "bot"
    note_available(ws, chat)
    if isinstance(ws.event, e.BotTransferRequested):
        enter_for_people(ws, chat, ws.event)
        return
    chat.bot_replied = False
    if agent_follows:
        chat.entered_ms = ws.now_ms
    elif chat.bots_alone:
        enter_for_bot(ws, chat, choose(ws, chat.department_id, by_visitor=False))
        entering.restart_idle(ws, chat)
    else:
        entering.enter(ws, chat, resolve(ws, chat.department_id, by_visitor=False))
