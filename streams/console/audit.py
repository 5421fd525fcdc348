"""Who did what in the console: the record, for those who may read it."""

from starlette.responses import Response

from streams.console.page import Page, Visit
from streams.operations.rights import Right

PAGE = 100


async def list_actions(visit: Visit) -> Response:
    """Show a page of the record, latest first."""
    by = visit.asked.one("by")
    rows = await visit.house.accounts.actions(visit.asked.a_number("before"), by or None, PAGE + 1)
    return visit.show("audit.html", rows=rows[:PAGE], more=len(rows) > PAGE, by=by)


PAGES = (Page("GET", "/audit", list_actions, needs=Right.AUDIT),)
