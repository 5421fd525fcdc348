"""Commands about the console: the process, its users, and who may see what."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.answers import (
    AsJson,
    answer,
    cell,
    console,
    examples,
    refuse,
    run,
    settings,
    table,
)
from streams.cli.operating import Operator, who
from streams.cli.operations import RoleName, role_of
from streams.postgres.addresses import console_of, operations_of, reader_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from streams.console.accounts import Accounts

pages = typer.Typer(
    help="The pages that people look at, until SIGTERM; and who may.",
    epilog=examples(
        "orderflow console",
        "ORDERFLOW_CONSOLE_COOKIES_SECURE=false orderflow console   (http on loopback)",
        "orderflow console users add mei --role service",
        "orderflow console rights",
    ),
    invoke_without_command=True,
)
users = typer.Typer(
    help="Who may log in to the console.",
    epilog=examples(
        "orderflow console users add mei --role service", "orderflow console users list"
    ),
    no_args_is_help=True,
)
pages.add_typer(users, name="users")

Name = Annotated[str, typer.Argument(help="Who; it stands in every trail.", metavar="NAME")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(pages, name="console", rich_help_panel="Run")


@pages.callback()
def serve(
    context: typer.Context,
    *,
    host: Annotated[
        str | None, typer.Option("--host", help="Where to listen; loopback where not set.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="On which port.")
    ] = None,
) -> None:
    """Show the pages that people look at, until SIGTERM; behind a proxy that does TLS."""
    if context.invoked_subcommand is not None:
        return
    from streams.console import serving

    loaded = settings(every_line=True)
    run(
        serving.serve(
            loaded,
            (reader_of(loaded), operations_of(loaded), console_of(loaded)),
            loaded.console_host if host is None else host,
            loaded.console_port if port is None else port,
            _first,
        )
    )


def _first(name: str, password: str) -> None:
    console().print(
        f"There was no user yet. Log in as {name} with the one-time password\n\n    {password}\n\n"
        "and choose another; it is not shown again.",
        markup=False,
    )


@pages.command("rights", epilog=examples("orderflow console rights"))
def rights() -> None:
    """Print which role may see which page, as the table in docs/console.md."""
    from streams.console import web

    print(web.rights(), end="")  # noqa: T201  this is the terminal


@users.command("add", epilog=examples("orderflow console users add mei --role service"))
def add(name: Name, *, role: RoleName, operator: Operator = None, as_json: AsJson = False) -> None:
    """Make a user and print a one-time password, this once; only its hash is kept."""
    known, by = role_of(role), who(operator)
    password = _recorded(
        by, "users.add", f"{name} {known.value}", lambda to: to.add(name, known, by)
    )
    if password is None:
        refuse({"ok": False, "name": name}, f"There is a user {name} already.", as_json=as_json)
    _tell(name, password, f"{name} ({known.value}) may log in", as_json=as_json)


@users.command("list", epilog=examples("orderflow console users list"))
def list_(*, as_json: AsJson = False) -> None:
    """List who may log in, and who was here when; never the passwords."""
    found = _done(lambda to: to.listed())
    answer({"ok": True, "users": found}, as_json=as_json, words=lambda _: _list(found))


def _list(found: list[dict[str, Any]]) -> None:
    shown = table("Users", "name", "role", "since (UTC)", "by", "seen (UTC)", "state")
    for row in found:
        state = "disabled" if row["disabled_at"] else ""
        shown.add_row(
            row["name"], row["role"], cell(row["made_at"]), row["made_by"], cell(row["seen_at"]),
            state or ("has to change the password" if row["must_change"] else "may log in"),
        )  # fmt: skip
    console().print(shown if found else "There is nobody: `orderflow console users add`.")


@users.command("disable", epilog=examples("orderflow console users disable mei"))
def disable(name: Name, *, operator: Operator = None, as_json: AsJson = False) -> None:
    """Let a user log in no more, and log them out everywhere at once."""
    by = who(operator)
    _change(
        name,
        _recorded(by, "users.disable", name, lambda to: to.disable(name, by)),
        f"{name} is logged out everywhere and may not log in again.",
        as_json=as_json,
    )


@users.command("enable", epilog=examples("orderflow console users enable mei"))
def enable(name: Name, *, operator: Operator = None, as_json: AsJson = False) -> None:
    """Let a user who was disabled log in again, with the role and the password they had."""
    by = who(operator)
    _change(
        name,
        _recorded(by, "users.enable", name, lambda to: to.enable(name, by)),
        f"{name} may log in again.",
        as_json=as_json,
    )


@users.command("role", epilog=examples("orderflow console users role mei operations"))
def role(
    name: Name,
    role: Annotated[str, typer.Argument(help="The new role.", metavar="ROLE")],
    *,
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Give a user another role; one who was disabled may log in again."""
    known, by = role_of(role), who(operator)
    _change(
        name,
        _recorded(by, "users.role", f"{name} {known.value}", lambda to: to.give(name, known, by)),
        f"{name} is {known.value} now, and has to log in again.",
        as_json=as_json,
    )


@users.command("password", epilog=examples("orderflow console users password mei"))
def password(name: Name, *, operator: Operator = None, as_json: AsJson = False) -> None:
    """Give a user a one-time password and print it, this once; log them out everywhere."""
    by = who(operator)
    made = _recorded(by, "users.password", name, lambda to: to.reset(name, by))
    if made is None:
        _nobody(name, as_json=as_json)
    else:
        _tell(name, made, f"{name} may log in once", as_json=as_json)


def _tell(name: str, password_: str, sentence: str, *, as_json: bool) -> None:
    answer(
        {"ok": True, "name": name, "password": password_},
        as_json=as_json,
        words=lambda to: to.print(
            f"{sentence} with\n\n    {password_}\n\nand has to choose another password then.",
            markup=False,
        ),
    )


def _change(name: str, done: Any, sentence: str, *, as_json: bool) -> None:
    if not done:
        _nobody(name, as_json=as_json)
    answer(
        {"ok": True, "name": name},
        as_json=as_json,
        words=lambda to: to.print(sentence, markup=False),
    )


def _nobody(name: str, *, as_json: bool) -> None:
    refuse(
        {"ok": False, "name": name},
        f"There is no user {name}; look at `orderflow console users list`.",
        as_json=as_json,
    )


def _recorded(by: str, did: str, about: str, work: Callable[["Accounts"], Awaitable[Any]]) -> Any:
    """Do *work*, on record before and after."""
    from streams.console.accounts import LastAdmin

    async def recorded(accounts: "Accounts") -> Any:
        number = await accounts.begin(by, None, "command line", did, about)
        try:
            done = await work(accounts)
        except LastAdmin:
            await accounts.end(number, "refused")
            raise
        await accounts.end(number, "done" if done else "refused")
        return done

    return _done(recorded)


def _done(work: Callable[["Accounts"], Awaitable[Any]]) -> Any:
    from streams.console.accounts import Accounts
    from streams.console.serving import lasting

    loaded = settings()

    async def go() -> Any:
        async with Accounts(console_of(loaded), lasting(loaded)) as accounts:
            return await work(accounts)

    return run(go())
