"""
The mappings in PostgreSQL: changed by people, row by row of a file or one at a time.

Promises: who, when and why is kept for good; a run is written whole or not at all; a dry run does
everything and takes it back, so its verdicts are what would happen.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from schemas.base import ID_LENGTH_MAX, is_misspelt
from schemas.errors import Rejected
from schemas.reference import SkuMapping, Spell
from streams.mapping.painting import Added, Change, Held, Moved, painted, when
from streams.postgres.connecting import connected
from streams.postgres.queries import sql
from streams.topics import PLATFORMS

Row = dict[str, Any]

#: A file with more rows is cut in two by its owner.
ROWS_MAX = 100_000
_PAGE = 5_000


class Wish(NamedTuple):
    """Theirs shall be ours for a time; `ours` None: nothing shall be."""

    platform: str
    shop: str
    theirs: str
    ours: str | None
    #: None: not named, see `when`; with `ever`, from the beginning and for good.
    from_ms: int | None = None
    until_ms: int | None = None
    ever: bool = False
    why: str = ""


class Verdict(NamedTuple):
    """What became of one wish, or would."""

    wish: Wish
    #: mapped, changed, unmapped, unchanged or refused.
    outcome: str
    #: What it was before, or why it is refused.
    said: str = ""


class Written(NamedTuple):
    """What became of a run."""

    verdicts: list[Verdict]
    #: Nothing is, in a dry run and where a row was refused.
    is_written: bool

    @property
    def refused(self) -> int:
        """How many rows cannot be used."""
        return sum(verdict.outcome == "refused" for verdict in self.verdicts)


async def write(
    dsn: str, wishes: Sequence[Wish], by: str, now_ms: int, *, dry_run: bool
) -> Written:
    """
    Fulfil *wishes* in their order; where one is refused, none is.

    Raises LedgerUnavailable, Misconfigured, and Rejected for more rows than are taken at once.
    """
    if len(wishes) > ROWS_MAX:
        raise Rejected(f"{len(wishes)} rows; give at most {ROWS_MAX:,} at once.")
    async with connected(dsn, name="orderflow-mapping") as connection:
        run = connection.transaction()
        await run.start()
        try:
            await connection.execute(sql("one_mapper_at_a_time"))
            held = await _held(connection, wishes)
            verdicts = [await _fulfil(connection, held, wish, by, now_ms) for wish in wishes]
            done = Written(verdicts, is_written=False)
            if dry_run or done.refused:
                await run.rollback()
                return done
            await run.commit()
            return done._replace(is_written=True)
        except BaseException:
            if connection.is_in_transaction():
                await run.rollback()
            raise


_Key = tuple[str, str, str]


async def _held(connection: Any, wishes: Sequence[Wish]) -> dict[_Key, list[Held]]:
    shops = sorted({(wish.platform, wish.shop) for wish in wishes})
    rows = await connection.fetch(
        sql("mappings_of_shops"), [each for each, _ in shops], [each for _, each in shops]
    )
    held: dict[_Key, list[Held]] = {}
    for row in rows:
        held.setdefault((row["platform"], row["shop"], row["theirs"]), []).append(_one(row))
    return held


def _one(row: Any) -> Held:
    return Held(row["id"], row["ours"], row["from_ms"], row["until_ms"])


async def _fulfil(
    connection: Any, held: dict[_Key, list[Held]], wish: Wish, by: str, now_ms: int
) -> Verdict:
    why_not = doubt(wish)
    if why_not:
        return Verdict(wish, "refused", why_not)
    key = wish.platform, wish.shop, wish.theirs
    there = held.get(key, [])
    from_ms, until_ms = wish.from_ms, wish.until_ms
    if not wish.ever:
        from_ms, until_ms = when(there, from_ms, until_ms, now_ms)
    if from_ms is not None and until_ms is not None and until_ms <= from_ms:
        return Verdict(wish, "refused", "it would end before it begins")
    changes = painted(there, wish.ours, from_ms, until_ms)
    if not changes:
        return Verdict(wish, "unchanged")
    before = ", ".join(sorted({each.ours for each in there if _is_touched(each, changes)}))
    for change in changes:
        await _change(connection, key, change, by, wish.why)
    # A later row of the same file may be about the same SKU.
    held[key] = [_one(row) for row in await connection.fetch(sql("mappings_of_sku"), *key)]
    outcome = "unmapped" if wish.ours is None else "changed" if before else "mapped"
    return Verdict(wish, outcome, f"was {before}" if before else "")


def _is_touched(held: Held, changes: Sequence[Change]) -> bool:
    return any(isinstance(change, Moved) and change.id == held.id for change in changes)


async def _change(connection: Any, key: _Key, change: Change, by: str, why: str) -> None:
    match change:
        case Added(ours, from_ms, until_ms):
            values = (*key, ours, from_ms, until_ms, by, why)
            await connection.execute(sql("add_mapping"), *values)
        case Moved(id_, withdrawn=True):
            await connection.execute(sql("withdraw_mapping"), id_, by, why)
        case Moved(id_, from_ms, until_ms):
            await connection.execute(sql("move_mapping"), id_, from_ms, until_ms, by, why)


def doubt(wish: Wish) -> str:
    """Return what cannot be right about *wish*, or nothing."""
    if wish.platform not in PLATFORMS:
        return f"platform {wish.platform!r} is not known; it is one of {', '.join(PLATFORMS)}"
    named = {"shop": wish.shop, "theirs": wish.theirs}
    if wish.ours is not None:
        named["ours"] = wish.ours
    for name, said in named.items():
        if why_not := _doubtful_code(name, said):
            return why_not
    if wish.ours is not None and is_misspelt(wish.ours):
        return f"ours {wish.ours!r} mixes letters of two alphabets; type it anew"
    if not wish.why.strip():
        return "why is empty; say what the change is for"
    return ""


def _doubtful_code(name: str, said: str) -> str:
    if not said:
        return f"{name} is empty; nothing is ever joined on an empty code"
    if len(said) > ID_LENGTH_MAX:
        return f"{name} has {len(said)} characters, at most {ID_LENGTH_MAX} are kept"
    if said != said.strip() or not said.isprintable():
        return f"{name} {said!r} has blanks around it or characters that nobody sees"
    return ""


# --- looking --------------------------------------------------------------------------------------


async def listed(
    dsn: str, platform: str | None, shop: str | None, word: str | None, limit: int, after: int = 0
) -> list[Row]:
    """Return a page of the mappings that hold, held or will hold, after the id *after*."""
    async with connected(dsn, name="orderflow-reads") as connection:
        rows = await connection.fetch(sql("mappings_listed"), platform, shop, word, after, limit)
        return [dict(row) for row in rows]


async def history(dsn: str, platform: str, shop: str, theirs: str, limit: int) -> list[Row]:
    """Return who changed the mapping of one SKU of theirs, and why."""
    async with connected(dsn, name="orderflow-reads") as connection:
        rows = await connection.fetch(sql("mapping_changes"), platform, shop, theirs, limit)
        return [dict(row) for row in rows]


async def published(connection: Any) -> AsyncIterator[tuple[_Key, SkuMapping | None]]:
    """Yield every SKU of theirs that was ever mapped, and its mapping; None: it never held."""
    after = ("", "", "")
    while True:
        rows = await connection.fetch(sql("mappings_published"), *after, _PAGE)
        for row in rows:
            key = row["platform"], row["shop"], row["theirs"]
            yield key, _mapping(key, row)
        if len(rows) < _PAGE:
            return
        last = rows[-1]
        after = last["platform"], last["shop"], last["theirs"]


def _mapping(key: _Key, row: Any) -> SkuMapping | None:
    if row["ours"] is None:
        return None
    platform, shop, theirs = key
    spells = tuple(
        Spell(ours=ours, from_ms=from_ms, until_ms=until_ms)
        for ours, from_ms, until_ms in zip(row["ours"], row["began"], row["ended"], strict=True)
    )
    only = len(spells) == 1 and spells[0].from_ms is None and spells[0].until_ms is None
    return SkuMapping(
        platform=platform,
        shop=shop,
        theirs=theirs,
        ours=spells[-1].ours,
        spells=() if only else spells,
    )
