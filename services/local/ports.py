"""Free ports on the loopback interface.

One rule: a port that is kept over restarts lies below the ephemeral range, or an outgoing connection may sit on it.
"""

import json
import random
import socket
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from services.local.errors import LocalError
from services.local.files import write_whole

LOOPBACK = "127.0.0.1"
_PORTS = range(20_000, 32_000)
_ATTEMPTS_MAX = 200
_given: set[int] = set()


def is_free(port: int) -> bool:
    """Say whether a server could listen on this port of the loopback interface now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> tuple[int, ...]:
    """Return `count` different ports nobody listens on at the moment, and which this process was not given before.

    Those given before may not be listened on yet.
    """
    found: list[int] = []
    for _ in range(_ATTEMPTS_MAX):
        if len(found) == count:
            return tuple(found)
        port = random.choice(_PORTS)  # noqa: S311  not a secret
        if port not in _given and is_free(port):
            _given.add(port)
            found.append(port)
    raise LocalError(
        f"No {count} free ports between {_PORTS.start} and {_PORTS.stop} on {LOOPBACK}: stop some programs and try again."
    )


def kept_ports(path: Path, *, count: int) -> tuple[int, ...]:
    """Return the ports recorded in the file `path`; the first time, choose free ones and record them.

    Addresses printed yesterday work today. Raises LocalError when the file is damaged or holds another number of ports.
    """
    try:
        ports = TypeAdapter(tuple[int, ...]).validate_json(path.read_bytes())
    except FileNotFoundError:
        ports = free_ports(count)
        write_whole(path, json.dumps(ports))
    except ValidationError as error:
        raise LocalError(f"{path} is damaged: delete it, and new ports are chosen.") from error
    if len(ports) != count:
        raise LocalError(
            f"{path} holds {len(ports)} ports where {count} are needed: its folder belongs to an installation "
            "of another size or version, choose another folder with --data."
        )
    return ports


def demand_free(port: int, *, owner: Path) -> None:
    """Raise LocalError unless the port, recorded in the file `owner`, can be listened on."""
    if not is_free(port):
        raise LocalError(
            f"Port {port} on {LOOPBACK} is taken by another program: stop that program, "
            f"or delete {owner} to have new ports chosen."
        )
