"""Commands about labels and fields: which there are; what orders carry is for the console."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.answers import (
    AsJson,
    answer,
    console,
    examples,
    refuse,
    run,
    settings,
    table,
)
from streams.cli.operating import Operator, Reason, who
from streams.postgres.addresses import operations_of, reader_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from streams.annotating.definitions import Definition, Definitions
    from streams.annotating.table import Table

labels = typer.Typer(
    help="What orders may be labelled with.",
    epilog=examples(
        "orderflow labels add vip --zh 贵宾 --en VIP --colour purple --reason 'new programme'",
        "orderflow labels list",
    ),
    no_args_is_help=True,
)
fields = typer.Typer(
    help="What else may be noted of orders.",
    epilog=examples(
        "orderflow fields add gift --zh 赠品 --en Gift --kind choice --choice 红 --choice 蓝 "
        "--reason 'spring campaign'",
        "orderflow fields list",
    ),
    no_args_is_help=True,
)

Code = Annotated[str, typer.Argument(help="a-z, 0-9 and -; it never changes.", metavar="CODE")]
Zh = Annotated[str, typer.Option("--zh", help="What it is called in Chinese.")]
En = Annotated[str, typer.Option("--en", help="And in English; as in Chinese where not given.")]
NewZh = Annotated[str | None, typer.Option("--zh", help="What it is called in Chinese.")]
NewEn = Annotated[str | None, typer.Option("--en", help="And in English.")]
Choices = Annotated[
    list[str] | None,
    typer.Option("--choice", help="One of its choices, in their order; given again for more."),
]
Least = Annotated[str | None, typer.Option("--least", help="Of a number or date.")]
Most = Annotated[
    str | None, typer.Option("--most", help="Of a number or date; of a text, its characters.")
]
Roles = Annotated[
    list[str] | None,
    typer.Option("--role", help="Who edits it; given again for more; else all who may note."),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(labels, name="labels", rich_help_panel="Operate")
    app.add_typer(fields, name="fields", rich_help_panel="Operate")


# --- labels ---------------------------------------------------------------------------------------


@labels.command("list", epilog=examples("orderflow labels list --json"))
def list_labels(*, as_json: AsJson = False) -> None:
    """List the labels, retired ones too."""
    found = list(_definitions().labels.values())
    facts = {"ok": True, "labels": [each._asdict() for each in found]}
    answer(facts, as_json=as_json, words=lambda _: _list_labels(found))


def _list_labels(found: list[Any]) -> None:
    shown = table("Labels", "code", "Chinese", "English", "colour", "state")
    for each in found:
        shown.add_row(each.code, each.zh, each.en, each.colour, _state(each))
    console().print(shown if found else "There is no label: `orderflow labels add`.")


@labels.command(
    "add",
    epilog=examples(
        "orderflow labels add vip --zh 贵宾 --en VIP --colour purple --reason 'new programme'"
    ),
)
def add_label(
    code: Code,
    *,
    zh: Zh,
    en: En = "",
    colour: Annotated[
        str,
        typer.Option(
            "--colour", help="grey, red, orange, yellow, green, teal, blue, purple or pink."
        ),
    ] = "grey",
    reason: Reason,
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Define a label."""
    from streams.annotating.definitions import Label

    _add(Label(code, zh, en, colour), reason, operator, as_json=as_json)


@labels.command(
    "change",
    epilog=examples("orderflow labels change vip --colour red --reason 'easier to see'"),
)
def change_label(
    code: Code,
    *,
    zh: NewZh = None,
    en: NewEn = None,
    colour: Annotated[str | None, typer.Option("--colour", help="One of the palette.")] = None,
    reason: Reason,
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Give a label another name or colour; what is not given stays."""
    from streams.annotating.table import Table

    wishes = {"zh": zh, "en": en, "colour": colour}
    _change(Table.LABELS, code, wishes, reason, operator, as_json=as_json)


# --- fields ---------------------------------------------------------------------------------------


@fields.command("list", epilog=examples("orderflow fields list --json"))
def list_fields(*, as_json: AsJson = False) -> None:
    """List the fields, retired ones too."""
    found = list(_definitions().fields.values())
    facts = {"ok": True, "fields": [each._asdict() for each in found]}
    answer(facts, as_json=as_json, words=lambda _: _list_fields(found))


def _list_fields(found: list[Any]) -> None:
    shown = table(
        "Fields", "code", "Chinese", "English", "kind", "choices or limits", "roles", "state"
    )
    for each in found:
        limits = f"{each.least or ''}..{each.most or ''}" if each.least or each.most else "-"
        shown.add_row(
            each.code, each.zh, each.en, each.kind, " / ".join(each.choices) or limits,
            ", ".join(each.roles) or "all who may note", _state(each),
        )  # fmt: skip
    console().print(shown if found else "There is no field: `orderflow fields add`.")


@fields.command(
    "add",
    epilog=examples(
        "orderflow fields add gift --zh 赠品 --kind choice --choice 红 --choice 蓝 --reason spring",
        "orderflow fields add weight --zh 重量 --en 'Weight, kg' --kind number --least 0 "
        "--role warehouse --reason 'asked by the warehouse'",
    ),
)
def add_field(
    code: Code,
    *,
    zh: Zh,
    en: En = "",
    kind: Annotated[str, typer.Option("--kind", help="text, number, date or choice.")] = "text",
    choice: Choices = None,
    least: Least = None,
    most: Most = None,
    role: Roles = None,
    reason: Reason,
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Define a field; its kind never changes."""
    from streams.annotating.definitions import CustomField

    made = CustomField(code, zh, en, kind, tuple(choice or ()), least, most, tuple(role or ()))
    _add(made, reason, operator, as_json=as_json)


@fields.command(
    "change",
    epilog=examples(
        "orderflow fields change gift --choice 红 --choice 绿 --reason 'blue is gone'",
        "orderflow fields change weight --most 30 --reason 'no parcel is heavier'",
    ),
)
def change_field(
    code: Code,
    *,
    zh: NewZh = None,
    en: NewEn = None,
    choice: Choices = None,
    least: Least = None,
    most: Most = None,
    role: Roles = None,
    reason: Reason,
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Change names, choices, limits or roles; what is not given stays, on orders as well."""
    from streams.annotating.table import Table

    wishes = {
        "zh": zh, "en": en, "least": least, "most": most,
        "choices": tuple(choice) if choice else None, "roles": tuple(role) if role else None,
    }  # fmt: skip
    _change(Table.FIELDS, code, wishes, reason, operator, as_json=as_json)


# --- both -----------------------------------------------------------------------------------------


def _ending(app: typer.Typer, table_: str, *, again: bool, words: str, example: str) -> None:
    """Add the command that retires, or restores, what stands in a table."""

    @app.command("restore" if again else "retire", help=words, epilog=examples(example))
    def end(
        code: Code, *, reason: Reason, operator: Operator = None, as_json: AsJson = False
    ) -> None:
        from streams.annotating import table as those

        work = those.retire(
            operations_of(settings()), those.Table(table_), code, who(operator), reason,
            again=again,
        )  # fmt: skip
        _done(work, code, "is in use again" if again else "is retired", as_json=as_json)


_ending(
    labels, "labels", again=False,
    words="Let no order get a label any more; orders that carry it keep it.",
    example="orderflow labels retire vip --reason 'over'",
)  # fmt: skip
_ending(
    labels, "labels", again=True, words="Let a retired label be used again.",
    example="orderflow labels restore vip --reason 'again'",
)  # fmt: skip
_ending(
    fields, "custom_fields", again=False,
    words="Let nobody fill in a field any more; what orders hold stays.",
    example="orderflow fields retire gift --reason 'over'",
)  # fmt: skip
_ending(
    fields, "custom_fields", again=True, words="Let a retired field be filled in again.",
    example="orderflow fields restore gift --reason 'again'",
)  # fmt: skip


def _definitions() -> "Definitions":
    from streams.reads import Reads

    async def read() -> "Definitions":
        async with Reads(reader_of(settings())) as reads:
            return await reads.definitions()

    return run(read())


def _state(each: Any) -> str:
    return "retired" if each.is_retired else "in use"


def _add(made: "Definition", reason: str, operator: str | None, *, as_json: bool) -> None:
    from streams.annotating import table as those

    work = those.add(operations_of(settings()), made, who(operator), reason)
    _done(work, made.code, "is defined", as_json=as_json)


def _change(
    of: "Table",
    code: str,
    wishes: dict[str, Any],
    reason: str,
    operator: str | None,
    *,
    as_json: bool,
) -> None:
    from streams.annotating import table as those

    dsn = operations_of(settings())

    async def change() -> None:
        there = await those.one(dsn, of, code)
        made = there._replace(**{name: said for name, said in wishes.items() if said is not None})
        await those.change(dsn, made, who(operator), reason, there.version)

    _done(change(), code, "is changed", as_json=as_json)


def _done(work: "Awaitable[None]", code: str, did: str, *, as_json: bool) -> None:
    from streams.annotating.table import AsItIs, NoSuch

    try:
        run(work)
    except (AsItIs, NoSuch) as error:
        refuse({"ok": False, "code": code}, str(error), as_json=as_json)
    answer(
        {"ok": True, "code": code},
        as_json=as_json,
        words=lambda to: to.print(f"{code} {did}.", markup=False),
    )
