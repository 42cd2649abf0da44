"""Puts the access lists of our principals onto a broker, and takes them off.

The one rule: only what `principals.py` lists, and only for allowing; nothing else on the broker is touched.
"""

from collections.abc import Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest

from services.local.errors import LocalError
from services.local.principals import PRINCIPALS, Permission
from services.local.topic_log import no_kafka, reached

_KINDS = {"topic": 2, "group": 3, "transactional_id": 5}
_OPERATIONS = {"read": 3, "write": 4}
_LITERAL, _PREFIXED = 3, 4
_ALLOW = 3
_ANY_HOST = "*"
"""These numbers are of Kafka's protocol (org.apache.kafka.common.acl and .resource)."""


def commands() -> list[str]:
    """Return the same as arguments of Kafka's own `kafka-acls`, one line for each permission."""
    return [
        f"--add --allow-principal User:{principal.name} --operation {each.operation} "
        f"--{each.kind.replace('_', '-')} {each.name}"
        + (" --resource-pattern-type prefixed" if each.prefixed else "")
        for principal in PRINCIPALS
        for each in principal.permissions()
    ]


async def allow(bootstrap: str, wanted: Sequence[tuple[str, Permission]]) -> None:
    """Allow users (by name) these things; what is allowed already stays so. Raises LocalError."""
    await _ask(bootstrap, [CreateAclsRequest(*_numbers(user, each)) for user, each in wanted])


async def withdraw(bootstrap: str, wanted: Sequence[tuple[str, Permission]]) -> None:
    """Allow it no more. Raises LocalError."""
    await _ask(bootstrap, [DeleteAclsRequest(*_numbers(user, each)) for user, each in wanted])


def _numbers(user: str, permission: Permission) -> tuple[int, str, int, str, str, int, int]:
    return (
        _KINDS[permission.kind],
        permission.name,
        _PREFIXED if permission.prefixed else _LITERAL,
        f"User:{user}",
        _ANY_HOST,
        _OPERATIONS[permission.operation],
        _ALLOW,
    )


async def _ask(bootstrap: str, requests: Sequence[CreateAclsRequest | DeleteAclsRequest]) -> None:
    admin: Any = AIOKafkaAdminClient(**reached(bootstrap).client())
    try:
        await admin.start()
        for request in requests:
            answer = await admin._send_request(request)  # noqa: SLF001 - aiokafka knows the request and has no method for it
            results = (
                answer.creation_responses
                if isinstance(request, CreateAclsRequest)
                else answer.filter_responses
            )
            for code, message, *_ in results:
                if code:
                    raise LocalError(f"Kafka refuses the access lists ({for_code(code).__name__}): {message}")
    except KafkaError as error:
        raise LocalError(no_kafka(bootstrap)) from error
    finally:
        await admin.close()
