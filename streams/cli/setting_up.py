"""Commands that make an installation ready: topics, migrate, reference."""

from pathlib import Path
from typing import Annotated

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

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

topics = typer.Typer(
    help="Create and check the Kafka topics.",
    epilog=examples("orderflow topics apply", "orderflow topics verify"),
    no_args_is_help=True,
)
reference = typer.Typer(
    help="Shops, SKU mappings and hold policies.",
    epilog=examples("orderflow reference apply deploy/reference.toml", "orderflow reference show"),
    no_args_is_help=True,
)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(topics, name="topics", rich_help_panel="Set up")
    app.command(
        "migrate",
        epilog=examples("orderflow migrate", "orderflow migrate --json"),
        rich_help_panel="Set up",
    )(migrate)
    app.add_typer(reference, name="reference", rich_help_panel="Set up")


@topics.command("apply", epilog=examples("orderflow topics apply", "orderflow topics apply --json"))
def apply_topics(*, as_json: AsJson = False) -> None:
    """Create what is missing and bring settings in line; may run at any time, and twice."""
    from streams.engine import admin

    changes = run(admin.apply(settings()))
    answer(
        {"ok": True, "changes": changes},
        as_json=as_json,
        words=lambda to: to.print("\n".join(changes) or "Nothing to do: every topic is there."),
    )


@topics.command(
    "verify", epilog=examples("orderflow topics verify", "orderflow topics verify --json")
)
def verify_topics(*, as_json: AsJson = False) -> None:
    """Check that every topic exists with its partition count; changes nothing."""
    from streams.engine import admin
    from streams.topics import TOPICS

    counts = run(admin.verify(settings(), [topic.name for topic in TOPICS]))
    answer(
        {"ok": True, "partitions": counts},
        as_json=as_json,
        words=lambda to: to.print(f"All {len(counts)} topics are as they are declared."),
    )


def migrate(*, as_json: AsJson = False) -> None:
    """Bring PostgreSQL's schema, rights and monthly partitions up to date; may run twice."""
    from schemas.errors import Misconfigured
    from streams.postgres import schema

    loaded = settings()
    if loaded.postgres_owner is None:
        raise Misconfigured(
            "Set ORDERFLOW_POSTGRES_OWNER to the address of the role that owns the database."
        )
    roles = {
        name: schema.role_of(dsn.get_secret_value())
        for name, dsn in (
            ("ledger", loaded.postgres_ledger),
            ("reader", loaded.postgres_reader),
            ("poller", loaded.postgres_poller),
            ("operations", loaded.postgres_operations),
            ("callbacks", loaded.postgres_callbacks),
            ("console", loaded.postgres_console),
        )
        if dsn is not None
    }
    applied = run(schema.migrate(loaded.postgres_owner.get_secret_value(), **roles))
    answer(
        {"ok": True, "applied": applied},
        as_json=as_json,
        words=lambda to: to.print(
            f"Applied: {', '.join(applied)}." if applied else "The schema is up to date."
        ),
    )


@reference.command(
    "apply",
    epilog=examples(
        "orderflow reference apply deploy/reference.toml",
        "orderflow reference apply shops.toml --prune --json",
    ),
)
def apply_reference(
    file: Annotated[
        Path | None,
        typer.Argument(help="TOML with [[shops]] and [[skus]]; else ORDERFLOW_REFERENCE_FILE."),
    ] = None,
    *,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what the file does not name.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish shops and SKU mappings from FILE; workers follow within moments."""
    from streams import reference as data

    loaded = settings()
    path = file or loaded.reference_file
    if path is None:
        stop("Name a FILE, or set ORDERFLOW_REFERENCE_FILE.", BAD_INPUT)
    done = run(data.apply(loaded, data.read_file(path), prune=prune))
    left = (
        f" {len(done.kept)} not in the file were kept; --prune removes them." if done.kept else ""
    )
    answer(
        {"ok": True, **done._asdict()},
        as_json=as_json,
        words=lambda to: to.print(
            f"Published {len(done.published)}, removed {len(done.removed)}, "
            f"unchanged {done.unchanged}.{left}"
        ),
    )


@reference.command(
    "show", epilog=examples("orderflow reference show", "orderflow reference show --json")
)
def show_reference(*, as_json: AsJson = False) -> None:
    """Show what intake knows of shops and SKUs."""
    from msgspec import json

    from streams import reference as data

    entries = {
        key.decode(): json.decode(value)
        for key, value in sorted(run(data.read_all(settings())).items())
    }
    if not entries:
        refuse(
            {"ok": False, "entries": {}},
            "There is no reference data: run `orderflow reference apply FILE`.",
            as_json=as_json,
        )
    if as_json:
        answer({"ok": True, "entries": entries}, as_json=True, words=lambda _: None)
        return
    shown = table("Reference data", "kind", "platform", "shop", "what")
    for key, entry in entries.items():
        what = (
            f"{entry['theirs']} is {entry['ours']}"
            if key.startswith("sku/")
            else f"holds {entry.get('hold_for_ms', 900_000) / 1000:g} s, "
            f"SKUs {entry.get('sku_mapping', 'identity')}"
        )
        shown.add_row(
            key.split("/")[0], cell(entry.get("platform")), cell(entry.get("shop")), cell(what)
        )
    console().print(shown)
