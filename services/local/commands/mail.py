"""`chat-routing mail`: what the notifier's mails look like, without a Kafka or a mail server."""

import email
import email.policy
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args

import typer

from schemas.types import Language
from services.local.errors import LocalError
from services.local.sample_mails import Sample, mail_of
from services.notifier.message import Scribe
from services.notifier.settings import NotifierSettings

app = typer.Typer(no_args_is_help=True, help="The notifier's mails: look at them before anybody gets one.")

_Kind: TypeAlias = Literal[Sample, "all"]


@app.command()
def preview(
    kind: Annotated[_Kind, typer.Argument(metavar="KIND", help="Which mail, or all of them.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Write here; older previews are replaced.")],
    lang: Annotated[Language, typer.Option(help="The mail's language.")] = "en",
) -> None:
    """Write sample mails as they would be sent: each whole (.eml), and its HTML and its text in files of their own."""
    scribe = Scribe(default_from=NotifierSettings.model_fields["mail_from"].default)
    for each in get_args(Sample) if kind == "all" else (kind,):
        sample = mail_of(each, lang)
        for suffix, content in _files(scribe.write(sample, sample.recipients).message):
            path = out / f"{each}.{lang}.{suffix}"
            try:
                out.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            except OSError as error:
                raise LocalError(
                    f"{path} cannot be written ({error.strerror}): choose another folder."
                ) from error
            typer.echo(path)


def _files(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """A mail's files, by their suffixes: what a reader of mails finds in the bytes."""
    yield "eml", raw
    message = email.message_from_bytes(raw, policy=email.policy.default)
    for suffix, part in (("html", "html"), ("txt", "plain")):
        body = message.get_body((part,))
        assert body is not None, "every mail has both"
        yield suffix, body.get_content().encode()
