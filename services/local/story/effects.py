"""What the workers did about a chat, in words: its transcript, mails, and what stands in the CRM.

The one rule: a transcript in parts, and a mail to several people, is one line.
"""

from collections.abc import Iterable, Iterator

from schemas.outcomes import CrmSettled, MailSettled
from schemas.transcripts import TranscriptCompleted
from services.local.display import visible
from services.local.story.chat_log import Fact
from services.local.story.words import Words


def effect_words(words: Words, effects: Iterable[Fact]) -> Iterator[tuple[int, str]]:
    """Each thing that was done, with the time of its first record, in order of time."""
    alike: dict[object, list[Fact]] = {}
    for fact in sorted(effects, key=lambda fact: fact.at_ms):
        alike.setdefault(_kind(fact), []).append(fact)
    for facts in alike.values():
        yield facts[0].at_ms, _told(words, facts[0].data, times=len(facts))


def _kind(fact: Fact) -> object:
    match fact.data:
        case TranscriptCompleted():
            return ("transcript", fact.data.revision)
        case MailSettled():
            return ("mail", fact.data.notice_id, fact.data.kind, fact.data.result, fact.data.code)
        case _:
            return ("crm", fact.id)


def _told(words: Words, data: TranscriptCompleted | MailSettled | CrmSettled, *, times: int) -> str:
    match data:
        case TranscriptCompleted():
            key = "transcript_parts" if data.parts > 1 else "transcript"
            return words.say(key, parts=data.parts, link=visible(data.link))
        case MailSettled():
            result = words.term("mail", data.result)
            if data.code is not None:
                result = words.say("with", reason=result, detail=visible(data.code))
            count = words.say("mail.count", count=times) if times > 1 else ""
            return words.say("mail", result=result, kind=words.term("kind", data.kind), count=count)
        case CrmSettled():
            kind, result = words.term("crm", data.kind), words.term("crm", data.result)
            more = ([visible(data.code)] if data.code is not None else []) + list(_record(words, data))
            return words.say("crm", kind=kind, result=result, more=_bracketed(words, more))


def _record(words: Words, data: CrmSettled) -> Iterator[str]:
    if data.record is not None:
        yield words.say("crm.record", type=visible(data.record.type), id=visible(data.record.id))
    if data.owner is not None:
        yield words.say("crm.owner", owner=visible(data.owner.name or data.owner.id))


def _bracketed(words: Words, parts: list[str]) -> str:
    return words.say("crm.more", more=words.parts(parts)) if parts else ""
