"""The tags in use.

The one rule: a tag is a word of the whole workspace; which chats have it is told by the lists of chats, to whom they are shown.
"""

from dataclasses import dataclass

from sqlalchemy import func, select

from services.transcript.api.listing import Keyset, Page, Paged, cut
from services.transcript.api.reader import Reader
from services.transcript.archive import standing


class TagsAsked(Paged):
    """Only where in the list."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag that some chat has now."""

    tag: str


async def tags(reader: Reader, asked: TagsAsked) -> Page[Tag]:
    """The tags in use, each once, in the database's order of texts."""
    t = standing.tags.c
    order = Keyset((t.tag,), (str,))
    least = select(func.min(t.tag).label("tag")).where(t.workspace_id == reader.workspace_id)
    # From each tag straight to the next one: a tag that a million chats have is one step, too.
    found = least.where(*order.after(asked.cursor)).cte("found", recursive=True)
    following = least.where(t.tag > found.c.tag).scalar_subquery()
    found = found.union_all(select(following).where(found.c.tag.is_not(None)))
    rows = await reader.connection.execute(
        select(found.c.tag).where(found.c.tag.is_not(None)).limit(asked.limit + 1)
    )
    page, cursor = cut(rows.mappings().all(), asked.limit, "tag")
    return Page(reader.as_of, tuple(Tag(row["tag"]) for row in page), cursor)
