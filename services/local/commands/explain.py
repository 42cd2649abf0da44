"""`chat-routing explain`: a chat's whole story in words, and why an agent was not asked."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from schemas.types import Language
from services.local.display import visible
from services.local.input_log import BadLine
from services.local.story import chat_log
from services.local.story import why_not as looking
from services.local.story.layout import show
from services.local.story.teller import tell
from services.local.story.verdict_words import moment_lines
from services.local.story.why_not import Moment
from services.local.story.words import Words

_BAD_LINE_CODE = 2


def explain(
    chat_id: Annotated[str, typer.Argument(metavar="CHAT")],
    why_not: Annotated[
        str | None,
        typer.Option(metavar="AGENT", help="Say at each choice why it was not this agent (an id)."),
    ] = None,
    lang: Annotated[Language | None, typer.Option(help="The language; by default the workspace's.")] = None,
    workspace: Annotated[
        str | None, typer.Option(metavar="ID", help="The chat's workspace, where several use the chat id.")
    ] = None,
    bootstrap: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The Kafka of the running service.")
    ] = "127.0.0.1:9092",
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="EVENTS.jsonl",
            exists=True,
            dir_okay=False,
            help="Read an exported log instead of the topics.",
        ),
    ] = None,
) -> None:
    """Tell a chat's whole story: what was asked, what the router decided and why, what the workers did. Nobody's words are in it."""
    moments: list[Moment] = []
    try:
        if file is None:
            log = asyncio.run(chat_log.from_topics(bootstrap, chat_id, workspace_id=workspace))
            if why_not is not None:
                moments = asyncio.run(looking.in_topics(bootstrap, log, why_not))
        else:
            log = chat_log.from_file(file, chat_id, workspace_id=workspace)
            if why_not is not None:
                moments = looking.in_file(file, log, why_not)
    except BadLine as bad:
        sys.stderr.write(f"{file}:{bad.number}: {bad.reason}\n")
        raise typer.Exit(_BAD_LINE_CODE) from None
    words = Words(log.ws, lang or log.ws.profile.settings.language)
    heading = {"chat": visible(chat_id), "workspace": visible(log.workspace_id), "zone": words.zone}
    if why_not is None:
        title, lines = words.say("title", **heading), tell(log, words)
    else:
        title = words.say("title.why_not", agent=words.agent(why_not), **heading)
        lines = moment_lines(words, moments, why_not)
    show(Console(), title, lines, words, begun_ms=log.begun_ms)
