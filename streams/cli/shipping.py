"""The command with which a warehouse says that a parcel left."""

from typing import Annotated

import typer

from streams.cli.answers import BAD_INPUT, AsJson, answer, examples, refuse, run, settings, stop
from streams.cli.looking import order
from streams.cli.operating import Id, Operator, Reason, Within, who

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick


def add_to(_: typer.Typer) -> None:
    """Add this command to those about orders."""
    order.command(
        "ship",
        epilog=examples(
            "orderflow order ship taobao:qingyou:2771944107739206615 SF SF1402087712345 "
            "--reason packed",
            "orderflow order ship shopify:jsmith:5450000000001 UPS 1Z999AA10123456784 "
            "--line BASKET-L=1 --line 466157049=2 --reason 'first of two parcels'",
        ),
    )(ship)


def ship(
    order_key: Annotated[
        str, typer.Argument(help="Key of the order: platform:shop:id.", metavar="ORDER")
    ],
    carrier: Annotated[
        str, typer.Argument(help="Our word for it: SF, ZTO, YTO, STO, YD, EMS, JD, UPS, DHL …")
    ],
    number: Annotated[str, typer.Argument(help="The number on the parcel.")],
    *,
    line: Annotated[
        list[str] | None,
        typer.Option(
            "--line",
            help="LINE=UNITS in this parcel, by the line's id or our SKU; may be given again. All "
            "that is held and has not left where none is given.",
        ),
    ] = None,
    reason: Reason,
    operator: Operator = None,
    timeout: Within = None,
    id_: Id = None,
    as_json: AsJson = False,
) -> None:
    """Say that a parcel left: its stock goes, and the platform the order is from is told."""
    from schemas.orders import ParcelLine
    from streams.clock import new_id
    from streams.shipping.saying import a_parcel, say, why_not

    lines = tuple(ParcelLine(*_line(said)) for said in line or ())
    made = a_parcel(id_ or new_id(), order_key, carrier, number, lines, who(operator), reason)
    said = run(say(settings(), made, timeout))
    facts = {
        "ok": said.refusal is None,
        "command": said.command,
        "order": said.order,
        "tracking_number": said.about,
        "refusal": said.refusal,
        "left": said.left,
        "at_ms": said.at_ms,
    }
    if said.refusal is not None:
        refuse(facts, why_not(said), as_json=as_json)
    rest = f"{said.left:,} units have not left." if said.left else "Nothing more is to leave."
    answer(
        facts,
        as_json=as_json,
        words=lambda to: to.print(f"{said.order}: {said.about} left. {rest} (id {said.command})"),
    )


def _line(said: str) -> tuple[str, int]:
    name, _, units = said.rpartition("=")
    if not name or not (units.isascii() and units.isdigit()) or int(units) < 1:
        stop(f"--line: write LINE=UNITS, such as BASKET-L=2, not {said!r}.", BAD_INPUT)
    return name, int(units)
