"""The only writer of state. `evolve` applies a fact: an input, a deadline, a decision or a notice.

The one rule: it decides nothing. Folding a log's inputs and decisions through it gives the state the router had.
"""

from schemas import decisions as d
from schemas import events as e
from schemas import notices as n
from services.router.core import asking, blocking, configuring, entering, membership, monitoring, revisions
from services.router.core.departments import choose, cost, resolve, resolve_again
from services.router.core.permissions import bar, may_end, speaks
from services.router.core.state import Chat, Offer, Workspace
from services.router.core.timers import DeadlineReached

Fact = e.Event | DeadlineReached | d.Decision | n.Notice


def evolve(ws: Workspace, fact: Fact) -> None:  # noqa: PLR0915 - one table over a closed union
    """Applies one fact to the state. The cases are tried in turn, so the most frequent stand first."""
    match fact:
        case e.ChatMessage():
            _message(ws, fact)
        case DeadlineReached():
            _deadline(ws, fact)
        case d.ChatOffered(kind="transfer" | "invite"):
            asking.offered(ws, fact)
        case d.ChatOffered():
            _offered(ws, fact)
        case e.ChatRequested():
            _requested(ws, fact)
        case d.ChatClosed():
            revisions.closed(ws, fact)
            monitoring.look_again(ws, fact.chat_id)
        case d.ChatAssigned():
            _assigned(ws, fact)
            monitoring.look_again(ws, fact.chat_id)
        case d.OfferWithdrawn():
            _withdrawn(ws, fact)
        case e.OfferAccepted() | e.OfferDeclined():
            pass  # what comes of an answer is decided
        case e.ChatEndRequested():
            _end_later(ws, fact)
        case d.ChatMissed():
            revisions.missed(ws, fact)
            monitoring.look_again(ws, fact.chat_id)
        case d.ChatQueued():
            ws.unannounced.pop(fact.chat_id, None)
        case e.WorkspaceConfigured():
            configuring.workspace_configured(ws, fact)
        case e.DepartmentConfigured():
            configuring.department_configured(ws, fact)
        case e.DepartmentDeleted():
            configuring.department_deleted(ws, fact)
        case e.AgentConfigured():
            monitoring.agent_configured(ws, fact)
            configuring.agent_configured(ws, fact)
        case e.AgentDeleted():
            monitoring.agent_deleted(ws, fact)
            configuring.agent_deleted(ws, fact)
        case e.AgentPresence():
            configuring.presence(ws, fact)
        case e.AgentHeartbeat():
            configuring.heartbeat(ws, fact)
        case e.VisitorIpBlocked():
            _block(ws, fact)
        case e.VisitorIpUnblocked():
            if ws.agent(fact.by_agent_id) is not None:
                blocking.unblock(ws, fact.ip)
        case e.VisitorLeft():
            _visitor_is(ws, fact.chat_id, gone=True)
        case e.VisitorReturned():
            _visitor_is(ws, fact.chat_id, gone=False)
        case e.VisitorUpdated():
            _visitor_updated(ws, fact)
        case e.BotTransferRequested():
            _transfer_to_people(ws, fact)
        case d.ChatUnassigned():
            _unassigned(ws, fact)
            monitoring.look_again(ws, fact.chat_id)
        case d.TransferFailed():
            asking.drop_transfer(ws, ws.chats[fact.chat_id])
        case d.ParticipantJoined():
            asking.joined(ws, fact)
        case d.ParticipantLeft():
            asking.left(ws, fact)
        case d.ChatReopened():
            revisions.reopened(ws, fact)
        case d.MissedUpdated():
            revisions.inbox_updated(ws, fact)
        case d.ChatTagged():
            ws.chats[fact.chat_id].tags = fact.tags
            ws.touch(ws.chats[fact.chat_id])
        case e.MonitorConfigured():
            monitoring.configured(ws, fact)
        case e.MonitorDeleted():
            monitoring.deleted(ws, fact)
        case d.MonitorMatched():
            monitoring.match(ws, fact)
        case d.MonitorUnmatched():
            monitoring.unmatch(ws, fact)
        case d.AgentMarkedAway():
            agent = ws.agents[fact.agent_id]
            agent.unanswered = 0
            configuring.change_status(ws, agent, "away")
        case n.NoticeUnattended():
            ws.chats[fact.chat_id].notified = True
            ws.touch(ws.chats[fact.chat_id])
        case _:
            pass  # requests change nothing before they are decided; refusals, transfers and failed bot transfers change nothing after


# ---------------------------------------------------------------- inputs


def _block(ws: Workspace, event: e.VisitorIpBlocked) -> None:
    """Blocks a network, once; `decide` tells from `accepted` whether it was new."""
    if ws.agent(event.by_agent_id) is not None and blocking.block(ws, event.ip):
        ws.accepted = event.ip


def _requested(ws: Workspace, event: e.ChatRequested) -> None:
    """A new chat, unless its id is in use, its address is blocked or its channel is off: `decide` refuses those."""
    if event.chat_id in ws.chats or bar(ws, event.visitor.ip, event.channel) is not None:
        return
    if event.bot_id is None:
        entry = resolve(ws, event.department_id, by_visitor=True)
    else:
        entry = choose(ws, event.department_id, by_visitor=True)
    department = ws.departments[entry.department_id]
    routing = department.settings.routing
    head_start_s = routing.priority_head_start_s.get(event.priority, 0) if event.priority else 0
    chat = Chat(
        id=event.chat_id,
        sequence=ws.next_sequence(),
        requested_ms=ws.now_ms,
        started_ms=ws.now_ms,
        entered_ms=ws.now_ms,
        born_clock_ms=ws.clock_ms,
        sought_clock_ms=ws.clock_ms,
        channel=event.channel,
        question=event.question,
        visitor=event.visitor,
        department_id=entry.department_id,
        cost=cost(department, event.channel),
        age_ms=ws.now_ms - round(head_start_s * 1000),
        bot_id=event.bot_id,
        skills=event.skills,
        phase="bot",
    )
    ws.chats[chat.id] = chat
    ws.accepted = chat.id
    revisions.note_available(ws, chat)
    if event.bot_id is None:
        entering.enter(ws, chat, entry)
    else:
        revisions.enter_for_bot(ws, chat, entry)


def _message(ws: Workspace, event: e.ChatMessage) -> None:
    """Who wrote tells what it changes: a reply stops the waiting limit, a visitor's message a delayed end; an internal one nothing."""
    chat = ws.chats.get(event.chat_id)
    if chat is None or not chat.live or event.internal:
        return
    sender = event.sender
    if sender.kind == "visitor" and chat.ending_by is not None:
        ws.disarm(chat, "end")
        chat.ending_by = None
    elif sender.kind == "bot" and chat.bot_id is not None and sender.id in (None, chat.bot_id):
        if chat.phase == "bot" and not chat.bot_replied:
            ws.disarm(chat, "wait")
        chat.bot_replied = True
        ws.touch(chat)
    elif sender.kind == "agent" and sender.id is not None:
        _agent_message(ws, chat, sender.id)
    if chat.phase == "bot":
        entering.restart_idle(ws, chat)


def _agent_message(ws: Workspace, chat: Chat, agent_id: str) -> None:
    if agent_id == chat.owner_id:
        if chat.owner_wrote:
            return
        chat.owner_wrote = True
        ws.disarm(chat, "reply")
    elif not speaks(chat, agent_id):
        return
    elif agent_id not in chat.served_ids:
        chat.served_ids.append(agent_id)
    chat.agent_replied = True
    ws.disarm(chat, "wait")
    ws.touch(chat)


def _visitor_is(ws: Workspace, chat_id: str, *, gone: bool) -> None:
    """The visitor went or came back; a missed chat that is assigned goes on at once only if they are there."""
    chat = ws.chats.get(chat_id)
    if chat is not None and chat.visitor_gone != gone:
        chat.visitor_gone = gone
        ws.touch(chat)


def _visitor_updated(ws: Workspace, event: e.VisitorUpdated) -> None:
    """What became known replaces what was; what the update does not name stays."""
    chat = ws.chats.get(event.chat_id)
    if chat is None:
        return
    names = e.Visitor.__dataclass_fields__
    known = {name: getattr(chat.visitor, name) for name in names}
    given = {name: value for name in names if (value := getattr(event.visitor, name)) is not None}
    chat.visitor = e.Visitor(**{**known, **given})
    monitoring.look_again(ws, chat.id)
    ws.touch(chat)


def _transfer_to_people(ws: Workspace, event: e.BotTransferRequested) -> None:
    """A bot hands its chat over; one that was missed already is closed and reopened by `decide` instead."""
    chat = ws.chats.get(event.chat_id)
    if chat is None or chat.phase != "bot" or chat.bot_id != event.bot_id or chat.missed_reason is not None:
        return
    ws.accepted = chat.id
    revisions.enter_for_people(ws, chat, event)


def _end_later(ws: Workspace, event: e.ChatEndRequested) -> None:
    chat = ws.chats.get(event.chat_id)
    if chat is None or not chat.live or event.after_s <= 0 or not may_end(ws, chat, event.by):
        return
    chat.ending_by = event.by.kind
    ws.arm(chat, "end", event.after_s)


def _deadline(ws: Workspace, due: DeadlineReached) -> None:
    """What a deadline opens; what it ends is decided."""
    if due.scope == "agent":
        match due.kind:
            case "wrap_up":
                entering.end_wrap_up(ws, due.subject, due.argument)
            case "forget":
                configuring.forget_agent(ws, due.subject)
            case _:
                configuring.change_status(ws, ws.agents[due.subject], "offline")
        return
    chat = ws.chats[due.subject]
    match due.kind:
        case "forget":
            del ws.chats[chat.id]
            ws.forget(chat)
        case "relax":
            entering.relax(ws, chat)
        case "tier":
            entering.reopen_tiers(ws, chat)
        case "sticky":
            membership.free(ws, chat)
        case "cooldown":
            membership.reconsider(ws, chat)
        case _:
            pass  # all others end something, which is decided


# ---------------------------------------------------------------- decisions


def _offered(ws: Workspace, fact: d.ChatOffered) -> None:
    chat = ws.chats[fact.chat_id]
    department = ws.departments[chat.department_id]
    membership.unqueue(ws, chat)
    if chat.offer is None:
        ring_all = department.settings.routing.mode == "ring_all"
        chat.offer = Offer(fact.offer_id, fact.kind, ring_all, ws.clock_ms, [])
        chat.offers_made += 1
        ws.arm(chat, "offer", (fact.expires_in_ms or 0) / 1000)
    chat.offer.agent_ids.extend(fact.agent_ids)
    chat.rung = True
    ws.unannounced.pop(chat.id, None)
    rota = ws.rotas[department.id]
    rota.last_asked_id = fact.agent_ids[-1]
    ws.touch(rota)
    membership.queue(ws, chat)
    ws.open_chats.pop(chat.id, None)
    ws.touch(chat)
    for agent_id in fact.agent_ids:
        ws.ringing.setdefault(agent_id, {})[chat.id] = None
        if not chat.offer.ring_all:
            agent = ws.agents[agent_id]
            agent.load += chat.cost
            membership.place_agent(ws, agent)


def _withdrawn(ws: Workspace, fact: d.OfferWithdrawn) -> None:
    chat = ws.chats[fact.chat_id]
    offer = chat.offer
    if offer is None or offer.id != fact.offer_id:
        asking.withdrawn(ws, fact)
        return
    department = ws.departments[chat.department_id]
    membership.unqueue(ws, chat)
    for agent_id in fact.agent_ids:
        _stop_ringing(ws, chat, offer, agent_id)
        agent = ws.agents[agent_id]
        if fact.reason == "declined":
            asking.note(chat.asked, agent_id, "declined")
            agent.unanswered = 0
            ws.arm(chat, f"cooldown/{agent_id}", department.settings.routing.decline_cooldown_s)
            ws.touch(agent)
        elif fact.reason == "timed_out":
            asking.note(chat.asked, agent_id, "timed_out")
            chat.rang_out = True
            if not offer.ring_all and offer.opened_ms >= agent.unanswered_until_ms:
                agent.unanswered += 1
                agent.unanswered_until_ms = ws.clock_ms
                ws.touch(agent)
        if agent_id == chat.sticky_id:
            chat.sticky_id = None
            ws.disarm(chat, "sticky")
    if not offer.agent_ids:
        chat.offer = None
        ws.disarm(chat, "offer")
        if chat.bot_transfer:
            ws.doubtful[chat.id] = None
    membership.queue(ws, chat)
    ws.touch(chat)


def _stop_ringing(ws: Workspace, chat: Chat, offer: Offer, agent_id: str) -> None:
    offer.agent_ids.remove(agent_id)
    asking.stop_ringing(ws, chat, agent_id)
    if not offer.ring_all:
        agent = ws.agents[agent_id]
        agent.load -= chat.cost
        membership.place_agent(ws, agent, roomier=True)


def _assigned(ws: Workspace, fact: d.ChatAssigned) -> None:
    chat = ws.chats[fact.chat_id]
    agent = ws.agents[fact.agent_id]
    if fact.by == "transfer":
        asking.handed_over(ws, chat)
        chat.department_id = fact.department_id
    if chat.offer is not None:
        _stop_ringing(ws, chat, chat.offer, agent.id)
        assert not chat.offer.agent_ids, "the others are withdrawn before the chat is assigned"
        ws.disarm(chat, "offer")
    entering.depart(ws, chat, "owned")
    chat.offer = None
    chat.owner_id = chat.last_owner_id = agent.id
    chat.owner_wrote = False
    chat.assigned_once = True
    chat.generation = fact.generation
    if agent.id not in chat.served_ids:
        chat.served_ids.append(agent.id)
    routing = ws.departments[chat.department_id].settings.routing
    ws.arm(chat, "reply", routing.first_reply_timeout_s)
    ws.owned.setdefault(agent.id, {})[chat.id] = None
    if routing.sticky == "last_agent":
        _remember_agent(ws, chat, agent.id)
    if fact.by == "auto":  # who accepts was asked when the offer was made, and others since
        rota = ws.rotas[chat.department_id]
        rota.last_asked_id = agent.id
        ws.touch(rota)
    if chat.invite is not None or chat.participant_ids:
        ws.unsettled[chat.id] = None
    agent.load += chat.cost
    agent.last_assigned_ms = ws.now_ms
    agent.unanswered = 0
    membership.place_agent(ws, agent)
    ws.touch(chat)


def _remember_agent(ws: Workspace, chat: Chat, agent_id: str) -> None:
    """The visitor's next chat in a sticky department goes to this agent first."""
    entry, forgotten = ws.last_agents.note(
        chat.department_id,
        chat.visitor.visitor_id,
        agent_id,
        at_ms=ws.now_ms,
        sequence=ws.next_sequence(),
    )
    for old in forgotten:
        ws.forget(old)
    ws.touch(entry)


def _unassigned(ws: Workspace, fact: d.ChatUnassigned) -> None:
    chat = ws.chats[fact.chat_id]
    entering.release(ws, chat, ended=False)
    if fact.reason == "transferred":
        return  # it is assigned next, out of its transfer
    asking.drop_transfer(ws, chat)
    if fact.reason == "no_first_reply":
        asking.note(chat.asked, fact.agent_id, "no_reply")
    entering.enter(ws, chat, resolve_again(ws, chat.department_id))
