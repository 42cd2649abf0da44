"""The frame of a worker process: settings, logs, event loop, signals, exit code.

The one rule: it always ends. SIGTERM, SIGINT and the first failure of a part ask the others to finish; what has not ended
after the grace time is left.
Exit codes: 0 stopped, 1 failed or not ended in time, 2 settings that can't be used.
"""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop
from pydantic import ValidationError
from pydantic_settings import SettingsError

from services.runtime.failures import WorkerFailed
from services.runtime.kafka_client import mend_connections
from services.runtime.logs import configure_logs, explain, log
from services.runtime.settings import RuntimeSettings, told

Settings = TypeVar("Settings", bound=RuntimeSettings)

EXIT_STOPPED = 0
EXIT_FAILED = 1
EXIT_SETTINGS = 2
COLLECT_AFTER = 200_000
"""New objects after which the garbage collector looks for cycles: more than the open batches hold. Its own 700 is reached by every
few records of a batch, whose objects all live until it is written; going through them again and again takes time
and finds nothing. What a cycle keeps until then is some ten MB at most."""

_log = log(__name__)


def _load(kind: type[Settings]) -> Settings:
    """The settings from the environment; ends the process with a line for each that can't be used, without its value."""
    try:
        return kind()
    except ValidationError as error:
        sys.stderr.writelines(f"{line}\n" for line in told(error))
    except (SettingsError, WorkerFailed) as error:
        sys.stderr.write(f"{error}\n")
    sys.exit(EXIT_SETTINGS)


def _end_soon(grace_s: float) -> None:
    """Whatever hangs, in whichever thread or library: after the grace time the process is gone."""

    def give_up() -> None:
        _log.error("grace_time_over", grace_s=grace_s)
        os._exit(EXIT_FAILED)

    timer = threading.Timer(grace_s, give_up)
    timer.daemon = True
    timer.start()


async def _guarded(
    settings: Settings, work: Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]]
) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def ask_to_stop(name: str) -> None:
        if not stop.is_set():
            _log.info("signal", signal=name)
            stop.set()

    async def limit_the_stop() -> None:
        await stop.wait()  # set by a signal, or by a part that has failed
        _end_soon(settings.grace_s)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask_to_stop, number.name)
    limiting = asyncio.create_task(limit_the_stop(), name="grace")
    try:
        await work(settings, stop)
    except WorkerFailed as error:
        _log.critical("worker_failed", reason=str(error), error=explain(error))
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the last place where it can be told without its text
        _log.critical("worker_failed", reason="a bug", error=explain(error))
        return EXIT_FAILED
    finally:
        limiting.cancel()
        _end_soon(settings.grace_s)  # closing the loop waits for what libraries have left running
    _log.info("stopped")
    return EXIT_STOPPED


def main_of(
    kind: type[Settings], work: Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]]
) -> None:
    """Runs `work(settings, stop)` as a worker process; never returns normally."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until somebody listens (`reloading`)
    settings = _load(kind)
    configure_logs(settings.log_level)
    gc.set_threshold(COLLECT_AFTER)
    mend_connections()
    sys.exit(uvloop.run(_guarded(settings, work)))
