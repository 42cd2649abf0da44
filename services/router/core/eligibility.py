"""Which agents may be asked for a chat: eligible (online, of the department, with the skills), and candidates (with room too).

The one rule: `standing` is the only place that says why an agent who is online is no candidate for a demand.
"""

from schemas.events import Routing
from services.router.core.index import Demand, Standing
from services.router.core.state import Agent, Chat, Department

_ALL_TIERS = 1_000_000


def demand(routing: Routing, chat: Chat) -> Demand:
    """What a chat asks of an agent of a department with these settings, at this moment."""
    return _demand(routing, chat, () if chat.relaxed else chat.wanted_skills, chat.tiers_open)


def demand_at(routing: Routing, chat: Chat, languages: dict[str, int], clock_ms: int) -> Demand:
    """What a chat would ask of an agent of a department that it does not wait in."""
    skills = () if is_relaxed(routing, sought_s(chat, clock_ms)) else expected_skills(chat, languages)
    return _demand(routing, chat, skills, open_tiers(routing, age_s(chat, clock_ms)))


def _demand(routing: Routing, chat: Chat, skills: tuple[str, ...], tiers: int) -> Demand:
    """The same wishes make the same demand, in whatever order they are named."""
    if len(skills) > 1:
        skills = tuple(sorted({*skills}))
    return Demand(chat.cost, skills, tiers if routing.strategy == "tiers" and routing.tiers else _ALL_TIERS)


def age_s(chat: Chat, clock_ms: int) -> float:
    """How old a chat is: tiers open by that."""
    return (clock_ms - chat.born_clock_ms) / 1000


def sought_s(chat: Chat, clock_ms: int) -> float:
    """For how long people have been sought for a chat's revision, in all its queues and hands: skills are relaxed by that."""
    return (clock_ms - chat.sought_clock_ms) / 1000


def is_relaxed(routing: Routing, seconds: float) -> bool:
    """Whether a chat for which people have been sought for so long may go to anybody of the department; 0 in the settings: never."""
    return 0 < routing.skills_relax_s <= seconds


def expected_skills(chat: Chat, languages: dict[str, int]) -> tuple[str, ...]:
    """The skills a chat asks for, and its visitor's language where somebody speaks it; `languages`: by how many each is spoken."""
    language = chat.visitor.language
    if language is None or not languages.get(language, 0):
        return chat.skills
    return (*chat.skills, language)


def open_tiers(routing: Routing, age_s: float) -> int:
    """How many tiers are open to a chat of that age."""
    return sum(1 for tier in routing.tiers if tier.after_s <= age_s)


def standing(wanted: Demand, agent: Agent, tier: int) -> Standing:
    """How an agent of tier `tier` who is online stands to a demand; who lacks a skill is not even eligible."""
    if wanted.skills and not has_skills(wanted.skills, agent):
        return "lacks_skill"
    if agent.room < wanted.cost:
        return "full"
    return "candidate" if tier < wanted.tiers else "tier_closed"


def is_able(wanted: Demand, agent: Agent, tier: int) -> bool:
    """Whether an agent of tier `tier` could take a chat with this demand if they had nothing else to do."""
    capable = agent.settings.max_chats >= wanted.cost and has_skills(wanted.skills, agent)
    return capable and tier < wanted.tiers


def has_skills(skills: tuple[str, ...], agent: Agent) -> bool:
    """Whether an agent has every one of these skills; languages they speak count as skills."""
    settings = agent.settings
    return all(settings.skills.get(skill, 0) > 0 or skill in settings.languages for skill in skills)


def tiers_of(routing: Routing) -> dict[str, int]:
    """The first tier that names each agent."""
    tiers: dict[str, int] = {}
    for number, tier in enumerate(routing.tiers):
        for agent_id in tier.agent_ids:
            tiers.setdefault(agent_id, number)
    return tiers


def last_tier(routing: Routing) -> int:
    """The tier of agents in none: they open with the last."""
    return max(len(routing.tiers) - 1, 0)


def is_cooling(chat: Chat, agent_id: str) -> bool:
    """Whether an agent declined the chat a moment ago."""
    return f"cooldown/{agent_id}" in chat.timers


def obstacle(department: Department, chat: Chat, agent: Agent) -> str | None:
    """Why an agent of the department who is online is no candidate for a chat that waits there; None if they are one."""
    routing = department.settings.routing
    tier = tiers_of(routing).get(agent.id, last_tier(routing))
    found = standing(demand(routing, chat), agent, tier)
    if found != "candidate":
        return found
    if is_cooling(chat, agent.id):
        return "declined"
    return None if chat.sticky_id in (None, agent.id) else "sticky_wait"
