"""`make bench`: measures, prints a table, keeps bench/results/latest.json and a picture, and exits with 1 where a bound is not kept."""

import logging
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from bench import core, cost, counting, day, latency, mails, recovery, rows, speed
from bench.contender import PEERS_PYTHON
from services.runtime.logs import configure_logs

PAIRS_OF_DAYS = 6
PICTURE = Path(__file__).with_name("picture.py")


def main() -> None:
    """Run all measurements."""
    configure_logs("WARNING")  # each partition that begins would have its line
    # A broker that is still electing leaders is retried, and is no news.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console()
    with console.status("making the sample day"):
        one_day = day.records()
        log = day.repeated(PAIRS_OF_DAYS)
    ticks = sum(record.is_tick for record in one_day)
    size_mb = sum(len(record.value or b"") for record in log) / 1e6
    console.print(
        f"The sample day: {len(one_day) - ticks:,} events of {day.CHATS:,} chats, and {ticks:,} ticks. "
        f"The input: {2 * PAIRS_OF_DAYS} such days, {len(log):,} records, {size_mb:,.0f} MB, {day.PARTITIONS} partitions."
    )
    with console.status("decoding and deciding") as status:
        found = speed.measure(log, status.update)
        found += latency.measure(status.update)
        found += recovery.measure(status.update)
        found += mails.measure(status.update)
        found += core.measure(one_day)
        found += counting.measure(one_day)
        found += cost.measure()
    rows.keep(found)
    rows.show(found, console)
    console.print(f"Kept in {rows.RESULTS}.")
    if PEERS_PYTHON.exists():
        subprocess.run([str(PEERS_PYTHON), str(PICTURE), str(rows.RESULTS)], check=True)
    sys.exit(0 if all(row.ok for row in found) else 1)


if __name__ == "__main__":
    main()
