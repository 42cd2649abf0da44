"""`make bench`: measures, prints a table, keeps bench/results/latest.json, and exits with 1 where a bound is not kept."""

import logging
import sys

from rich.console import Console

from bench import core, day, rows, runner


def main() -> None:
    """Run all measurements."""
    # A broker that is still electing leaders is retried, and is no news.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console()
    with console.status("making the sample day"):
        log = day.records()
    ticks = sum(record.is_tick for record in log)
    console.print(f"The sample day: {len(log) - ticks:,} events of {day.CHATS:,} chats, and {ticks:,} ticks.")
    with console.status("decoding and deciding"):
        found = core.measure(log)
    with console.status("starting") as status:
        found += runner.measure(log, status.update)
    rows.keep(found)
    rows.show(found, console)
    console.print(f"Kept in {rows.RESULTS}.")
    sys.exit(0 if all(row.ok for row in found) else 1)


if __name__ == "__main__":
    main()
