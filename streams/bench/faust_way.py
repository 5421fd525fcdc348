"""
The same job as the Faust documentation would have it: records, one agent, two tables, `send`.

Started as a process of its own by `orderflow bench reserve`:

    python -m streams.bench.faust_way KAFKA PREFIX PARTITIONS DATADIR

Default settings but for `producer_acks=-1`, so that an outcome is as durable as ours. What Faust
does not give (exactly-once answers, repeats dropped) is not asked of it.
"""

# Faust's classes and decorators are `Any` to mypy.
# mypy: disable-error-code="misc, untyped-decorator"

import sys
from pathlib import Path

import faust


class StockCommand(faust.Record):
    """Receive units of a SKU, or hold some of them for an order."""

    verb: str
    sku: str
    quantity: int
    order: str = ""
    attempt: int = 1
    deadline_ms: int | None = None
    cause: str = ""


class Balance(faust.Record):
    """The stock of one SKU."""

    available: int = 0
    locked: int = 0
    version: int = 0


class Hold(faust.Record):
    """What one order holds of one SKU."""

    quantity: int
    bucket: str
    origin: str
    deadline_ms: int | None = None


class StockAnswered(faust.Record):
    """The answer to the order."""

    order: str
    sku: str
    attempt: int
    refusal: str | None = None
    available: int = 0


class StockMoved(faust.Record):
    """What subscribers are told."""

    sku: str
    at_ms: int
    cause: str
    version: int
    verb: str
    quantity: int
    source: str | None
    target: str | None
    available: int
    locked: int
    order: str | None = None
    deadline_ms: int | None = None


def create_app(  # noqa: C901  one page, as Faust's documentation writes an app
    kafka: str, prefix: str, partitions: int, datadir: str
) -> faust.App:
    """Return the app: one agent, two tables, two topics out."""
    app = faust.App(
        f"{prefix}faust",
        broker=f"kafka://{kafka}",
        store="memory://",
        topic_partitions=partitions,
        producer_acks=-1,
        datadir=Path(datadir),
        web_enabled=False,
    )
    commands = app.topic(f"{prefix}stock-commands", key_type=str, value_type=StockCommand)
    answers = app.topic(f"{prefix}order-commands", key_type=str, value_type=StockAnswered)
    events = app.topic(f"{prefix}stock-events", key_type=str, value_type=StockMoved)
    balances = app.Table("balances", key_type=str, value_type=Balance)
    holds = app.Table("holds", key_type=str, value_type=Hold)

    @app.agent(commands)
    async def keep_stock(stream: faust.Stream) -> None:
        async for event in stream.events():
            command = event.value
            at_ms = int(event.message.timestamp * 1000)
            if command.verb == "receive":
                await receive(command, at_ms)
            else:
                await hold(command, at_ms)

    async def receive(command: StockCommand, at_ms: int) -> None:
        before = balances.get(command.sku) or Balance()
        after = Balance(
            available=before.available + command.quantity,
            locked=before.locked,
            version=before.version + 1,
        )
        balances[command.sku] = after
        await moved(command, at_ms, None, "available", after)

    async def hold(command: StockCommand, at_ms: int) -> None:
        before = balances.get(command.sku)
        if before is None:
            await refuse(command, "unknown_sku", 0)
            return
        if command.quantity > before.available:
            await refuse(command, "not_enough", before.available)
            return
        held_under = f"{command.sku}/{command.order}"
        if held_under in holds:
            raise ValueError(f"{command.order} holds {command.sku} already")
        after = Balance(
            available=before.available - command.quantity,
            locked=before.locked + command.quantity,
            version=before.version + 1,
        )
        balances[command.sku] = after
        holds[held_under] = Hold(
            quantity=command.quantity,
            bucket="locked",
            origin="available",
            deadline_ms=command.deadline_ms,
        )
        await moved(command, at_ms, "available", "locked", after)
        yes = StockAnswered(order=command.order, sku=command.sku, attempt=command.attempt)
        await answers.send(key=command.order, value=yes)

    async def refuse(command: StockCommand, refusal: str, available: int) -> None:
        no = StockAnswered(
            order=command.order,
            sku=command.sku,
            attempt=command.attempt,
            refusal=refusal,
            available=available,
        )
        await answers.send(key=command.order, value=no)

    async def moved(
        command: StockCommand, at_ms: int, source: str | None, target: str, after: Balance
    ) -> None:
        event = StockMoved(
            sku=command.sku,
            at_ms=at_ms,
            cause=command.cause,
            version=after.version,
            verb=command.verb,
            quantity=command.quantity,
            source=source,
            target=target,
            available=after.available,
            locked=after.locked,
            order=command.order or None,
            deadline_ms=command.deadline_ms,
        )
        await events.send(key=command.sku, value=event)

    return app


def main() -> None:
    """Run the app as `faust worker -l info` does."""
    kafka, prefix, partitions, datadir = sys.argv[1:]
    app = create_app(kafka, prefix, int(partitions), datadir)
    faust.Worker(app, loglevel="info").execute_from_commandline()


if __name__ == "__main__":
    main()
