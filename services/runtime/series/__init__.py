"""Every metric of every worker, in one closed list: name, type, unit, labels, meaning.

The one rule: a metric that is not in `DEFINITIONS` does not exist. No label ever holds a person's or a chat's id, a name or an address;
ids of workspaces and departments only as `chats` says, up to a limit.
"""

from typing import TypeAlias

from services.runtime.series.chats import CHATS, ChatName
from services.runtime.series.definition import Definition
from services.runtime.series.effects import EFFECTS, EffectName
from services.runtime.series.running import RUNNING, RunningName

MetricName: TypeAlias = RunningName | EffectName | ChatName

DEFINITIONS: tuple[Definition, ...] = (*RUNNING, *CHATS, *EFFECTS)
