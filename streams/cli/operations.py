"""Commands about the operations API: the process, and the keys of those who may ask it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.answers import (
    BAD_INPUT,
    AsJson,
    answer,
    cell,
    console,
    examples,
    refuse,
    run,
    settings,
    stop,
    table,
)
from streams.cli.operating import Operator, Reason, who
from streams.postgres.addresses import operations_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from streams.operations.rights import Role

RoleName = Annotated[
    str, typer.Option("--role", help="viewer, service, warehouse, operations, finance or admin.")
]

operators = typer.Typer(
    help="Who may ask the operations API for what.",
    epilog=examples(
        "orderflow operators add mei --role service --reason 'customer service'",
        "orderflow operators list",
    ),
    no_args_is_help=True,
)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(
        "operations",
        epilog=examples(
            "orderflow operations",
            "orderflow operations --host 0.0.0.0 --port 8443   (behind a proxy that does TLS)",
            "curl -H \"Authorization: Bearer $KEY\" 'http://127.0.0.1:8086/v1/exceptions?limit=5'",
        ),
        rich_help_panel="Run",
    )(operations)
    app.add_typer(operators, name="operators", rich_help_panel="Set up")


def operations(
    *,
    host: Annotated[
        str | None, typer.Option("--host", help="Where to listen; loopback where not set.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="On which port.")
    ] = None,
) -> None:
    """Answer what people ask and change over HTTP, such as exceptions and pauses, until SIGTERM."""
    from streams.people.serving import serve

    loaded = settings(every_line=True)
    run(
        serve(
            loaded,
            operations_of(loaded),
            loaded.operations_host if host is None else host,
            loaded.operations_port if port is None else port,
        )
    )


@operators.command(
    "add", epilog=examples("orderflow operators add mei --role service --reason 'new colleague'")
)
def add(
    name: Annotated[str, typer.Argument(help="Who; it stands in every trail.", metavar="NAME")],
    *,
    role: RoleName,
    reason: Reason,
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key and print it, this once; only its hash is kept."""
    from streams.operations import keys

    known = role_of(role)
    made = run(keys.make(_owner(), name, known, who(operator), reason))
    answer(
        {"ok": True, "id": made.id, "name": name, "role": known.value, "key": made.key},
        as_json=as_json,
        words=lambda to: to.print(
            f"{made.key}\n\nThat is the key of {name} ({known.value}). Keep it now: it is not "
            f"shown again. `orderflow operators revoke {made.id}` ends it.",
            markup=False,
        ),
    )


@operators.command("list", epilog=examples("orderflow operators list"))
def list_(*, as_json: AsJson = False) -> None:
    """List who has which key, and who made it; never the keys."""
    from streams.operations import keys

    found = run(keys.listed(_owner()))
    answer({"ok": True, "operators": found}, as_json=as_json, words=lambda _: _list(found))


def _list(found: list[dict[str, Any]]) -> None:
    shown = table("Operators", "key", "name", "role", "since (UTC)", "by: why", "revoked (UTC)")
    for row in found:
        shown.add_row(
            row["id"], row["name"], row["role"], cell(row["made_at"]),
            f"{row['made_by']}: {row['made_why']}", cell(row["revoked_at"]),
        )  # fmt: skip
    console().print(shown if found else "Nobody has a key: `orderflow operators add`.")


@operators.command(
    "revoke", epilog=examples("orderflow operators revoke 0a1b2c3d4e5f --reason 'has left'")
)
def revoke(
    id_: Annotated[str, typer.Argument(help="The key's id, as listed.", metavar="ID")],
    *,
    reason: Reason,
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Let a key count no more, from the next request on."""
    from streams.operations import keys

    if not run(keys.revoke(_owner(), id_, who(operator), reason)):
        refuse(
            {"ok": False, "id": id_},
            f"There is no key {id_} that counts; look at `orderflow operators list`.",
            as_json=as_json,
        )
    answer(
        {"ok": True, "id": id_},
        as_json=as_json,
        words=lambda to: to.print(f"The key {id_} counts no more."),
    )


def role_of(said: str) -> "Role":
    """Return the role that is called so; another is refused."""
    from streams.operations.rights import Role

    try:
        return Role(said)
    except ValueError:
        stop(f"A role is one of {', '.join(Role)}, not {said!r}.", BAD_INPUT)


def _owner() -> str:
    """Only the schema's owner makes keys."""
    from streams.postgres.addresses import owner_of

    return owner_of(settings())
