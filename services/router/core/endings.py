"""How a chat ends: handled, handled by its bot, or missed, and for which reason.

The one rule: `reason` is a table read from the top; the first row that fits is the answer (the contract, When is a chat missed).
"""

from schemas import decisions as d
from schemas import notices as n
from schemas.envelope import from_ms
from schemas.frozen import dataclass
from schemas.types import BotTransferFailure, MissedDetail, MissedReason, Outcome, WithdrawReason
from services.router.core import mail
from services.router.core.eligibility import demand
from services.router.core.entering import available
from services.router.core.ids import mint
from services.router.core.membership import pool
from services.router.core.offers import withdraw_all
from services.router.core.state import Agent, Chat, Emission, Workspace

Ending = tuple[Emission, ...]


@dataclass(frozen=True, slots=True)
class End:
    """Who ended a chat and how."""

    by: str
    visitor: bool = False
    """The visitor left or ended it."""
    withdraw: WithdrawReason = "chat_ended"


def end(ws: Workspace, chat: Chat, how: End) -> Ending:
    """The live phase is over: the outcome, and everything that follows from it."""
    if chat.missed_reason is not None:
        return (*withdraw_all(chat, how.withdraw), _closed(ws, chat, "missed", how.by))
    if chat.agent_replied:
        return (*withdraw_all(chat, how.withdraw), _closed(ws, chat, "handled", how.by))
    if chat.bot_replied and chat.bots_alone:
        return (*withdraw_all(chat, how.withdraw), _closed(ws, chat, "handled_by_bot", how.by))
    transfer: BotTransferFailure = "visitor_left" if how.visitor else "no_answer"
    return miss(ws, chat, how=how, transfer=transfer)


def hopeless(ws: Workspace, chat: Chat) -> BotTransferFailure | None:
    """Why a waiting bot transfer fails at once: nobody is eligible, or every eligible agent declined."""
    department = ws.departments[chat.department_id]
    waiting = pool(ws, department, demand(department.settings.routing, chat))
    if not waiting.eligible:
        return "no_agent_available"
    declined = sum(
        1 for agent_id, answer in chat.asked.items() if answer == "declined" and waiting.is_eligible(agent_id)
    )
    return "declined" if declined == waiting.eligible else None


def miss(
    ws: Workspace,
    chat: Chat,
    *,
    detail: MissedDetail | None = None,
    transfer: BotTransferFailure | None = None,
    how: End | None = None,
) -> Ending:
    """Nobody replied. `transfer`: how a bot's transfer failed; `how`: who ended the chat, if anybody did."""
    failure = _transfer_failure(chat, detail, transfer)
    reason, shown = _reason(chat, detail=detail, failure=failure, how=how)
    missed = _missed(ws, chat, reason, shown)
    ending: list[Emission] = list(withdraw_all(chat, how.withdraw if how else "chat_missed"))
    if failure is not None and chat.bot_id is not None and chat.phase == "waiting":
        ending.append(d.BotTransferFailed(chat_id=chat.id, bot_id=chat.bot_id, reason=failure))
    ending.append(missed)
    ending.extend(_notice(ws, chat, missed))
    bot_goes_on = chat.bot_replied and chat.bot_transfer and how is None
    if not bot_goes_on:
        ending.append(_closed(ws, chat, "missed", how.by if how else "system", reason=reason))
    return tuple(ending)


def _transfer_failure(
    chat: Chat, detail: MissedDetail | None, given: BotTransferFailure | None
) -> BotTransferFailure | None:
    """How a bot's transfer failed, or None where there was none."""
    if not chat.bot_transfer:
        return None
    match detail:
        case "after_hours" | "queue_full":
            return detail
        case "department_unavailable":
            return "no_agent_available"
        case "timed_out":
            return "no_answer" if chat.rung else "no_agent_available"
        case _:
            return given


def _reason(
    chat: Chat, *, detail: MissedDetail | None, failure: BotTransferFailure | None, how: End | None
) -> tuple[MissedReason, MissedDetail | None]:
    """The first row that fits, with the detail where the row has one."""
    if chat.bot_transfer:
        only_refused = failure == "declined" and not chat.assigned_once and not chat.rang_out
        return ("transfer_declined" if only_refused else "transfer_not_attended"), None
    if chat.assigned_once:
        return "no_agent_message", None
    if how is not None and how.visitor:
        return "visitor_left", None
    return "no_reply", detail


def _missed(ws: Workspace, chat: Chat, reason: MissedReason, detail: MissedDetail | None) -> d.ChatMissed:
    department = ws.departments[chat.department_id]
    routing = department.settings.routing
    index = ws.indexes[department.id]
    transfer_failed = reason in ("transfer_declined", "transfer_not_attended")
    counts = index.counts
    return d.ChatMissed(
        chat_id=chat.id,
        revision=chat.revision,
        reason=reason,
        tag="bot_transfer_failed" if transfer_failed else "unattended",
        rule=d.Rule(
            department_id=department.id,
            department=department.settings.name,
            mode=routing.mode,
            strategy=routing.strategy,
            offer_timeout_s=routing.offer_timeout_s,
            wait_timeout_s=routing.wait_timeout_s,
            first_reply_timeout_s=routing.first_reply_timeout_s,
            skills=chat.wanted_skills,
        ),
        available_at_start=chat.start_agents,
        available_at_missed=available(ws, department.id),
        available_counts={"at_start": chat.start_count, "at_missed": len(index.with_room)},
        reply_by_email=mail.address_of(chat.visitor) is not None,
        why=d.Why(
            rule=f"missed/{reason}",
            others={name: counts[name] for name in ("offline", "away", "full") if counts[name]},
            notes=chat.entry_notes,
        ),
        detail=detail,
    )


def _notice(ws: Workspace, chat: Chat, missed: d.ChatMissed) -> tuple[n.NoticeUnattended, ...]:
    """The unattended mail, once per chat, where the department wants it."""
    department = ws.departments[chat.department_id]
    to = mail.plan(ws, department).unattended
    if chat.notified or not to:
        return ()
    return (
        n.NoticeUnattended(
            notice_id=mint(ws.id, ws.cause, f"unattended/{chat.id}"),
            chat_id=chat.id,
            revision=chat.revision,
            department=d.DepartmentRef(department.id, department.settings.name),
            letter=mail.letter(ws, department, to),
            visitor=chat.visitor,
            channel=chat.channel,
            question=chat.question,
            reason=missed.reason,
            tag=missed.tag,
            requested_at=from_ms(chat.requested_ms),
            missed_at=from_ms(ws.now_ms),
            available_at_start=missed.available_at_start,
            available_at_missed=missed.available_at_missed,
            available_counts=missed.available_counts,
            reply_by_email=missed.reply_by_email,
            detail=missed.detail,
            digest_s=department.settings.email.digest_s,
        ),
    )


def _closed(
    ws: Workspace, chat: Chat, outcome: Outcome, by: str, *, reason: str | None = None
) -> d.ChatClosed:
    department = ws.departments[chat.department_id]
    return d.ChatClosed(
        chat_id=chat.id,
        revision=chat.revision,
        outcome=outcome,
        ended_by=by,
        started_at=from_ms(chat.started_ms),
        ended_at=from_ms(ws.now_ms),
        agents=tuple(card(ws.agents[agent_id]) for agent_id in chat.served_ids if agent_id in ws.agents),
        department=d.DepartmentRef(department.id, department.settings.name),
        visitor=chat.visitor,
        email=mail.plan(ws, department),
        source=d.Position(ws.partition, ws.offset),
        reason=reason or chat.missed_reason,
    )


def close_missed(ws: Workspace, chat: Chat, by: str) -> Ending:
    """Closes a revision that was missed while its bot went on."""
    return (*withdraw_all(chat, "chat_ended"), _closed(ws, chat, "missed", by))


def card(agent: Agent) -> d.AgentCard:
    """An agent as other services name them."""
    settings = agent.settings
    return d.AgentCard(settings.agent_id, settings.name, settings.email, settings.team, settings.group)
