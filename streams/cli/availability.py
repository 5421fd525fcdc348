"""The command that answers what is left to sell."""

from typing import Annotated

import typer

from streams.cli.answers import examples, run, settings

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        "availability",
        epilog=examples(
            "orderflow worker --roles availability   (writes the cache)",
            "orderflow availability",
            "curl 'http://127.0.0.1:8085/v1/availability?sku=BASKET-L&channel=taobao:qingyou'",
        ),
        rich_help_panel="Run",
    )(availability)


def availability(
    *,
    host: Annotated[
        str | None, typer.Option("--host", help="Where to listen; loopback where not set.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="On which port.")
    ] = None,
) -> None:
    """Answer over HTTP what is left to sell, from Redis and else from PostgreSQL, until SIGTERM."""
    from streams.availability.serving import serve

    loaded = settings(every_line=True)
    code = run(serve(loaded, host or loaded.availability_host, port or loaded.availability_port))
    raise typer.Exit(code)
