"""`chat-routing export` and `chat-routing replay`: the input log as a file, and the offline run over one."""

import asyncio
import json
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from schemas.envelope import to_ms
from services.local import compare as comparing
from services.local import export as exporting
from services.local import plot as plotting
from services.local import replay as replaying
from services.local.errors import LocalError
from services.local.input_log import BadLine
from services.router.core.offline import Happening
from services.router.core.partition import Emitted
from services.router.records import encode_emitted

_BAD_LINE_CODE = 2


def export(
    bootstrap: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The Kafka of the running service.")
    ] = "127.0.0.1:9092",
    workspace: Annotated[
        str | None, typer.Option(metavar="ID", help="This workspace only; by default all.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write here instead of to standard output.")
    ] = None,
) -> None:
    """Write the input log as `replay` reads it: without what was dead-lettered, with partition, offset and record time."""
    lines = asyncio.run(exporting.export(bootstrap, workspace_id=workspace))
    if out is None:
        sys.stdout.buffer.writelines(lines)
        sys.stdout.buffer.flush()
        return
    try:
        out.write_bytes(b"".join(lines))
    except OSError as error:
        raise LocalError(f"{out} cannot be written ({error.strerror}): choose another file.") from error


def replay(
    path: Annotated[Path, typer.Argument(metavar="EVENTS.jsonl", exists=True, dir_okay=False)],
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Leave out later records (RFC 3339, with its zone).")
    ] = None,
    routing: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEPARTMENT=FILE.json", help="What if: these settings instead of the file's own."
        ),
    ] = None,
    scenario: Annotated[
        bool,
        typer.Option(
            "--scenario", help="The file is a scenario, made by `sample`: act it out; people react."
        ),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Print figures instead, under the file's own settings and under --routing's."
        ),
    ] = False,
    target_s: Annotated[
        float, typer.Option(min=0, help="With --compare: the service levels' time to answer, in seconds.")
    ] = comparing.TARGET_DEFAULT_S,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --compare: the same figures for programs.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="OUT.svg", help="With --compare: draw waits and queue over the day, too."),
    ] = None,
) -> None:
    """Run the router's core over a file of envelopes and print each decision and notice, one a line.

    Exits with 2 at a line that can't be read; what follows from the lines before it stands.
    """
    overrides = dict(_override(text) for text in routing or ())
    until_ms = None if until is None else moment_ms(until, option="--until")
    if compare and not overrides:
        raise typer.BadParameter("it needs settings to compare with, by --routing", param_hint="--compare")
    if not compare and (as_json or plot is not None):
        raise typer.BadParameter("it needs --compare", param_hint="--json" if as_json else "--plot")
    run = replaying.acted if scenario else replaying.repeated
    try:
        if compare:
            compared = comparing.compare(
                lambda settings: run(path, until_ms=until_ms, overrides=settings),
                overrides,
                wanted=", ".join(map(_called, routing or ())),
                target_s=target_s,
                acted=scenario,
            )
            _show(compared, plot=plot, as_json=as_json)
        else:
            _print(run(path, until_ms=until_ms, overrides=overrides))
    except BadLine as bad:
        sys.stderr.write(f"{path}:{bad.number}: {bad.reason}\n")
        raise typer.Exit(_BAD_LINE_CODE) from None


def _print(happenings: Iterable[Happening]) -> None:
    output = sys.stdout.buffer
    try:
        for happening in happenings:
            if isinstance(happening, Emitted):
                value = encode_emitted(happening).value
                assert value is not None, "decisions are never tombstones"
                output.write(value + b"\n")
    finally:
        output.flush()


def _show(comparison: comparing.Comparison, *, plot: Path | None, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(comparing.record(comparison), ensure_ascii=False, indent=2))
    else:
        typer.echo("\n".join(comparing.lines(comparison)))
    if plot is None:
        return
    try:
        plot.write_text(plotting.draw(comparison), encoding="utf-8")
    except OSError as error:
        raise LocalError(f"{plot} cannot be written ({error.strerror}): choose another file.") from error


def _called(text: str) -> str:
    """Return an override by its file's name alone: the folders say nothing about the settings."""
    department_id, _, name = text.partition("=")
    return f"{department_id}={Path(name).name}"


def _override(text: str) -> tuple[str, dict[str, object]]:
    department_id, equals, name = text.partition("=")
    if not equals or not department_id or not name:
        raise typer.BadParameter(f"{text}: DEPARTMENT=FILE.json was expected", param_hint="--routing")
    return department_id, replaying.read_routing(Path(name))


def moment_ms(text: str, *, option: str) -> int:
    """Return a moment in ms since the epoch. Raises BadParameter for what names none, or leaves its zone out."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter(
            f"{text}: a time such as 2026-11-21T09:00:00Z was expected", param_hint=option
        )
    return to_ms(moment)
