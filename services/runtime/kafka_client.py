"""What aiokafka's clients lack: a loss they survive, a coordinator's refusal they hear, and an end that is certain.

The one rule: a connection that is gone is a KafkaConnectionError, whoever finds it; aiokafka tries again after that one,
and its tasks die of any other. This file reaches into private parts of aiokafka;
`tests/runtime/test_kafka_client.py` shows what each correction is for.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any, NoReturn

from aiokafka import AIOKafkaProducer, conn
from aiokafka.errors import KafkaConnectionError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest

FLUSH_LIMIT_S = 2.0
"""How long a producer that is closed may go on with what it has begun. Whatever matters was waited for before."""
GONE = "this producer is closed"


class _Connection(conn.AIOKafkaConnection):  # type: ignore[misc]  # aiokafka is untyped for mypy
    def send(self, request: Any, expect_response: bool = True) -> Any:
        try:
            answer = super().send(request, expect_response)
        except RuntimeError as error:
            # uvloop's answer to a write after the network has broken the connection and before the reader knows.
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN, exc=error)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken") from error
        return _of_the_coordinator(answer) if request.API_KEY == OffsetFetchRequest.API_KEY else answer

    def close(self, reason: conn.CloseReason | None = None, exc: BaseException | None = None) -> Any:
        if self._writer is not None and self._ssl_context is not None:
            # A farewell by TLS waits for the broker's, for half a minute where an answer nobody reads any more is on its way.
            # Whatever was sent and mattered has been answered by now.
            self._writer.transport.abort()
        return super().close(reason, exc)


async def _of_the_coordinator(answer: Awaitable[Any]) -> Any:
    """The committed offsets. Raises what the broker says of the whole answer: it is no coordinator any more, or not yet.

    aiokafka looks for errors of partitions only, and there are none then; so it would say that nothing was ever committed.
    """
    offsets = await answer
    code = getattr(offsets, "error_code", 0)
    if code:
        raise for_code(code)
    return offsets


def mend_connections() -> None:
    """Corrects the connections of all clients of this process, those of Faust too."""
    conn.AIOKafkaConnection = _Connection


class _NoConnections(dict[Any, Any]):
    """Stands in for the connections of a producer that shall have none: who asks for one fails, who has made one loses it."""

    def __contains__(self, _wanted: object) -> NoReturn:
        raise KafkaConnectionError(GONE)

    def __setitem__(self, wanted: Any, made: Any) -> NoReturn:
        made.close(reason=conn.CloseReason.SHUTDOWN)
        raise KafkaConnectionError(GONE)


class Producer(AIOKafkaProducer):  # type: ignore[misc]
    """A producer whose `stop` ends also while no broker answers; aiokafka's own waits for one, without a limit."""

    async def stop(self) -> None:
        """Closes it; afterwards it can't write."""
        try:
            async with asyncio.timeout(FLUSH_LIMIT_S):
                await super().stop()
        except TimeoutError:
            await self._break_off()
        finally:
            for each in self._waiters():
                if each.done() and not each.cancelled():
                    each.exception()  # told by what failed; nobody waits for these any more

    @property
    def failure(self) -> BaseException | None:
        """What ended the transaction. aiokafka tells whoever waits for a batch, and all others only that there is none."""
        ended = None if self._txn_manager is None else self._txn_manager._transaction_waiter  # noqa: SLF001
        return ended.exception() if ended is not None and ended.done() and not ended.cancelled() else None

    def _waiters(self) -> "Iterator[asyncio.Future[Any]]":
        """The futures that get a failure's exception besides those we wait for."""
        if self._txn_manager is not None and self._txn_manager._transaction_waiter is not None:  # noqa: SLF001
            yield self._txn_manager._transaction_waiter  # noqa: SLF001
        for batches in self._message_accumulator._batches.values():  # noqa: SLF001
            for batch in batches:
                yield batch._drain_waiter  # noqa: SLF001

    async def _break_off(self) -> None:
        """Takes its connections away, those it is about to make too; its tasks end of that."""
        connections = list(self.client._conns.values())  # noqa: SLF001
        self.client._conns = _NoConnections()  # noqa: SLF001
        for each in connections:
            if each._writer is not None:  # noqa: SLF001
                each._writer.transport.abort()  # noqa: SLF001 - closing would first wait until all is sent
            each.close(reason=conn.CloseReason.SHUTDOWN)
        self._message_accumulator.fail_all(KafkaConnectionError(GONE))
        sending = self._sender.sender_task
        if sending is not None:
            sending.cancel()
            await asyncio.wait({sending})
        await self.client.close()
