"""Commands that make an installation ready: topics, migrate, partitions, reference."""

from pathlib import Path
from typing import Annotated, Any

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
from streams.postgres.addresses import owner_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

topics = typer.Typer(
    help="Create and check the Kafka topics.",
    epilog=examples("orderflow topics apply", "orderflow topics verify"),
    no_args_is_help=True,
)
partitions = typer.Typer(
    help="The months of PostgreSQL's trails.",
    epilog=examples("orderflow partitions ensure", "orderflow partitions list"),
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
    app.add_typer(partitions, name="partitions", rich_help_panel="Set up")
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


@topics.command(
    "strimzi",
    epilog=examples(
        "orderflow topics strimzi --partitions 12 --replication 3 > topics.yaml",
        "orderflow topics strimzi --partitions 96 --replication 3 --cluster orders",
    ),
)
def print_strimzi(
    *,
    partitions: Annotated[
        int, typer.Option("--partitions", min=1, max=256, help="Of every keyed topic. For life.")
    ],
    replication: Annotated[
        int, typer.Option("--replication", min=1, max=9, help="Copies of each; 3 in production.")
    ] = 3,
    cluster: Annotated[
        str, typer.Option("--cluster", help="The name of Strimzi's Kafka resource.")
    ] = "orderflow",
) -> None:
    """Print every topic as a resource of Strimzi; asks no broker."""
    from streams.manifests import strimzi
    from streams.settings import load

    # The broker is the operator's to know.
    loaded = load(kafka="none:0", partitions=partitions, replication=replication)
    typer.echo(strimzi(loaded, cluster), nl=False)


def migrate(*, as_json: AsJson = False) -> None:
    """Bring PostgreSQL's schema, rights and monthly partitions up to date; may run twice."""
    from streams.postgres import schema

    loaded = settings()
    owner = owner_of(loaded)
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
    applied = run(schema.migrate(owner, **roles))
    answer(
        {"ok": True, "applied": applied},
        as_json=as_json,
        words=lambda to: to.print(
            f"Applied: {', '.join(applied)}." if applied else "The schema is up to date."
        ),
    )


@partitions.command(
    "ensure",
    epilog=examples("orderflow partitions ensure", "orderflow partitions ensure --months 12"),
)
def ensure_partitions(
    *,
    months: Annotated[
        int, typer.Option("--months", min=1, max=120, help="So many ahead of this one.")
    ] = 3,
    as_json: AsJson = False,
) -> None:
    """Make the months that come; nobody waits for it longer than a second at a time."""
    from streams.postgres import months as trails

    made = run(trails.ensure(owner_of(settings()), months_after=months))
    answer(
        {"ok": True, "made": made},
        as_json=as_json,
        words=lambda to: to.print("\n".join(made) or "Nothing to do: every month is there."),
    )


@partitions.command(
    "retire",
    epilog=examples("orderflow partitions retire", "orderflow partitions retire --keep 61"),
)
def retire_partitions(
    *,
    keep: Annotated[
        int, typer.Option("--keep", min=2, help="Months that stay, this one included.")
    ] = 37,
    as_json: AsJson = False,
) -> None:
    """Put months aside that are older; deletes nothing (docs/backup.md says how to archive)."""
    from streams.postgres import months as trails

    gone = run(trails.retire(owner_of(settings()), months_kept=keep))
    answer(
        {"ok": True, "retired": gone},
        as_json=as_json,
        words=lambda to: to.print("\n".join(gone) or "Nothing to do: no month is that old."),
    )


@partitions.command(
    "list", epilog=examples("orderflow partitions list", "orderflow partitions list --json")
)
def list_partitions(*, as_json: AsJson = False) -> None:
    """Show every month, its rows and its size."""
    from streams.postgres import months as trails

    found = run(trails.listed(owner_of(settings())))
    shown = table("Months", "partition", "rows, about", "MiB", "")
    for each in found:
        size = f"{each.bytes / 2**20:,.1f}"
        shown.add_row(each.name, f"{each.rows:,}", size, "put aside" if each.retired else "")
    answer(
        {"ok": True, "months": [each._asdict() for each in found]},
        as_json=as_json,
        words=lambda to: to.print(shown),
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
        what = _what(key.split("/")[0], entry)
        shown.add_row(
            key.split("/")[0], cell(entry.get("platform")), cell(entry.get("shop")), cell(what)
        )
    console().print(shown)


def _what(kind: str, entry: dict[str, Any]) -> str:
    match kind:
        case "sku":
            return f"{entry['theirs']} is {entry['ours']}"
        case "kit":
            return f"{entry['sku']} of {len(entry['parts'])} parts"
        case "pause":
            return "its messages are read" if entry.get("resuming") else "its messages wait"
        case "gray" if "trial" in entry:
            return f"the trial of version {entry['trial']['version']} was ended by {entry['by']}"
        case "gray":
            return (
                f"{entry['permille'] / 10:g} % of the shops are read by version {entry['version']}"
            )
        case _:
            held = entry.get("hold_for_ms", 900_000) / 1000
            return f"holds {held:g} s, SKUs {entry.get('sku_mapping', 'identity')}"
