"""Settings that change while a process runs: SIGHUP has them read anew, and what may change then does.

A process' variables can't change, but files can: those of `CHAT_SETTINGS_FOLDER`, a file for each setting, and those that settings
name (`CHAT_…_FILE`). What can't change without a restart is named in the log, and stays as it is.

The one rule: all or nothing. Everything is read and checked first; where one file is of no use nothing changes, and the log says
which. (Certificates and passwords of Kafka need no signal: they are read with each connection, see `connection`.)
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import SettingsError

from services.runtime.failures import WorkerFailed
from services.runtime.health import Pages
from services.runtime.logs import log, set_level
from services.runtime.metrics import Metrics
from services.runtime.settings import RuntimeSettings, told, variable_of

Value = TypeVar("Value")
_log = log(__name__)


@dataclass(slots=True)
class _Part:
    """A part of the settings: what it is made of, what is made of that, and who takes it; nobody, where it can't change."""

    names: tuple[str, ...]
    read: Callable[[Any], Any]
    apply: Callable[[Any], None] | None
    present: Any

    def changed(self, before: RuntimeSettings, found: RuntimeSettings) -> Iterator[str]:
        """The settings that differ; where none does, it is what stands in a file of theirs."""
        different = [name for name in self.names if getattr(before, name) != getattr(found, name)]
        files = [name for name in self.names if name.endswith("_file") and getattr(found, name) is not None]
        yield from different or files


class Reloads:
    """Who wants to know of changed settings. A setting that nobody has named needs a restart."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self._settings = settings
        self._parts: list[_Part] = []
        self._metrics = Metrics()
        self.on("log_level", read=attrgetter("log_level"), apply=set_level)

    def on(
        self, *names: str, read: Callable[[Any], Value], apply: Callable[[Value], None] | None = None
    ) -> None:
        """Gives `apply` what `read` makes of the settings of these names, once that is another than now.

        `read` gets all settings and may raise WorkerFailed; `apply` must not raise. Without `apply` a change is only told of.
        """
        self._parts.append(_Part(names, read, apply, read(self._settings)))

    def listen(self, metrics: Metrics, pages: Pages) -> None:
        """From now on a SIGHUP to this process is a reload."""
        self._metrics = metrics
        show_to = partial(setattr, pages, "metrics_token")
        self.on("metrics_token", "metrics_token_file", read=attrgetter("metrics_secret"), apply=show_to)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.reload)

    def reload(self) -> None:
        """Reads the settings anew and changes what has changed, or nothing where anything is of no use."""
        kind = type(self._settings)
        try:
            found = kind()
            values = [part.read(found) for part in self._parts]
        except ValidationError as error:
            self._refuse(told(error))
            return
        except (SettingsError, WorkerFailed) as error:
            self._refuse([str(error)])
            return
        changed: set[str] = set()
        ignored = {
            name
            for name in kind.model_fields.keys() - {name for part in self._parts for name in part.names}
            if getattr(found, name) != getattr(self._settings, name)
        }
        for part, value in zip(self._parts, values, strict=True):
            if value == part.present:
                continue
            names = part.changed(self._settings, found)
            if part.apply is None:
                ignored.update(names)
            else:
                changed.update(names)
                part.apply(value)
                part.present = value
        in_force = {name: getattr(found, name) for name in changed}
        self._settings = self._settings.model_copy(update=in_force)
        self._metrics.add("settings_reloads", result="done")
        _log.warning("settings_reloaded", changed=_variables(changed), ignored=_variables(ignored))

    def _refuse(self, reasons: list[str]) -> None:
        self._metrics.add("settings_reloads", result="refused")
        _log.error("settings_not_reloaded", reasons=reasons)


def _variables(names: set[str]) -> list[str]:
    return [variable_of(name) for name in sorted(names)]
