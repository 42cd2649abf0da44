"""`chat-routing sample`: writes the scenario of a sample day, or the input log that results from it."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from schemas.topics import PARTITIONS_DEFAULT
from services.local import sample_day, scenario
from services.local.arrivals import DAY_MS, built_in_curve, read_curve
from services.local.errors import LocalError
from services.local.input_log import empty_snapshot, line
from services.local.rehearsal import Rehearsal


def sample(
    chats: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many chats are requested.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 1,
    arrivals: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Arrivals of a day: columns DateTime and Calls, a bin a row."),
    ] = None,
    day_s: Annotated[float, typer.Option(min=1, help="How long the day lasts, in seconds.")] = DAY_MS / 1000,
    pace: Annotated[
        float, typer.Option(min=0.01, help="People and time-outs are so many times quicker than in life.")
    ] = 1.0,
    resolved: Annotated[
        bool,
        typer.Option(
            "--resolved", help="Act it out against the core and write the input log, ticks included."
        ),
    ] = False,
    partitions: Annotated[
        int, typer.Option(min=1, help="With --resolved: partitions of the topics.")
    ] = PARTITIONS_DEFAULT,
    tick_s: Annotated[float, typer.Option(min=0.01, help="With --resolved: seconds between ticks.")] = 1.0,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write here instead of to standard output.")
    ] = None,
) -> None:
    """Write a sample day: settings, requests, and people who act; or, with --resolved, what it leads to."""
    curve = built_in_curve() if arrivals is None else read_curve(arrivals)
    day = sample_day.make(chats=chats, seed=seed, curve=curve, day_ms=round(day_s * 1000), pace=pace)
    if not resolved:
        _write(scenario.write(day), out)
        return
    rehearsal = Rehearsal(day, partitions, round(tick_s * 1000))
    _write(_log(rehearsal), out)
    if rehearsal.open_chats:
        raise LocalError(
            f"{rehearsal.open_chats} chats had no outcome an hour after the day: this is a mistake of ours."
        )


def _log(rehearsal: Rehearsal) -> Iterable[bytes]:
    yield empty_snapshot(at_ms=rehearsal.scenario.head.starts_at_ms)
    for rehearsed in rehearsal.run():
        entry = rehearsed.entry
        yield line(rehearsed.envelope, partition=entry.partition, offset=entry.offset, at_ms=entry.at_ms)


def _write(lines: Iterable[bytes], out: Path | None) -> None:
    if out is None:
        sys.stdout.buffer.writelines(lines)
        sys.stdout.buffer.flush()
        return
    try:
        with out.open("wb") as handle:
            handle.writelines(lines)
    except OSError as error:
        raise LocalError(f"{out} cannot be written ({error.strerror}): choose another file.") from error
