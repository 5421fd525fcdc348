"""
Orders from files: uploaded, looked at, carried out: the operations of `streams/importing/pages.py`.

Promises: a file is bounded as it is there, and is read only after the form that brings it was
judged. A job runs in a process of its own. The refused rows as they came are personal: whoever
takes them away is on record. A form that is sent twice begins one job.
"""

from contextlib import aclosing
from typing import Any

import msgspec
from starlette.responses import Response

from schemas.errors import Rejected
from streams import topics
from streams.console.page import Page, Visit
from streams.importing.forecast import Existing
from streams.importing.pages import Upload
from streams.importing.store import Job
from streams.importing.templates import TEMPLATES
from streams.operations.operation import Forbidden, NotFound
from streams.operations.rights import Right

PAGE = 50
_TEXTS = ("platform", "shop", "template", "encoding", "sheet", "zone", "currency")
_LISTS = ("column", "pass_over")


async def list_imports(visit: Visit) -> Response:
    """Show the latest imports, and the form for another."""
    imports = visit.house.imports
    return visit.show(
        "imports.html", jobs=[imports.facts(job) for job in await imports.listed(PAGE)],
        jobs_max=PAGE,
        platforms=topics.PLATFORMS, templates=TEMPLATES, existing=_allowed(visit),
        is_on=visit.house.settings.import_folder is not None,
    )  # fmt: skip


def _allowed(visit: Visit) -> list[Existing]:
    force = visit.may(Right.FORCE_IMPORTS)
    return [each for each in Existing if force or each is not Existing.FORCE]


async def show_import(visit: Visit) -> Response:
    """Show one import, and how far it is."""
    job = await _job(visit, visit.asked.one("id"))
    waits = job.ended_at is None and not (job.dry_run and job.state == "forecast")
    return visit.show(
        "import.html", job=visit.house.imports.facts(job), existing=_allowed(visit),
        runs=job.dry_run and job.state == "forecast", waits=waits,
    )  # fmt: skip


async def _job(visit: Visit, id_: str) -> Job:
    try:
        return await visit.house.imports.job(id_)
    except NotFound as error:
        raise NotFound("no_import") from error


async def upload_import(visit: Visit) -> Response:
    """Take a file, and begin a job."""
    upload = visit.upload
    if upload is None or not upload.file_name:
        raise Rejected("no_file")
    asked = _wished(visit, upload.file_name)
    imports = visit.house.imports
    async with aclosing(upload.file()) as pieces:
        path = await imports.stored(visit.request.headers, pieces)
    id_ = await imports.begin(path, asked, visit.known.name)
    return visit.go("/import", id=id_)


def _wished(visit: Visit, file_name: str) -> Upload:
    form = visit.form
    said: dict[str, Any] = {name: form.one(name) for name in _TEXTS if form.one(name)}
    said |= {
        name: tuple(line.strip() for line in form.one(name).splitlines() if line.strip())
        for name in _LISTS
    }
    said |= {
        "reason": form.a_reason(), "name": file_name, "dry_run": form.one("dry_run") == "1",
        "existing": form.one("existing") or Existing.UPDATE.value,
    }  # fmt: skip
    if said.get("platform") not in topics.PLATFORMS:
        raise Rejected("unknown_word")
    if "shop" not in said:
        raise Rejected("no_shop")
    try:
        asked = msgspec.convert(said, Upload)
    except msgspec.ValidationError as error:
        raise Rejected(f"{error}.") from error
    _refuse_force(visit, asked.existing)
    asked.reading()  # raises Rejected for columns that cannot be read
    return asked


def _refuse_force(visit: Visit, existing: Existing) -> None:
    if existing not in _allowed(visit):
        raise Forbidden(f"{visit.known.role} {Right.FORCE_IMPORTS}")


async def run_import(visit: Visit) -> Response:
    """Carry out what was a dry run, in the name of whoever says so."""
    form, reason = visit.form, visit.form.a_reason()
    job = await _job(visit, form.one("id"))
    said = form.one("existing") or job.existing.value
    if said not in set(Existing):
        raise Rejected("unknown_word")
    existing = Existing(said)
    _refuse_force(visit, existing)
    await visit.house.imports.run(job, existing, visit.known.name, reason)
    return visit.go("/import", id=job.id)


async def resume_import(visit: Visit) -> Response:
    """Go on with a job whose process died, or whose receipt is not made yet."""
    form, reason = visit.form, visit.form.a_reason()
    job = await _job(visit, form.one("id"))
    visit.house.imports.resume(job, visit.known.name, reason)
    return visit.go("/import", id=job.id)


async def show_import_rows(visit: Visit) -> Response:
    """Give the verdict of every row, as CSV."""
    return await _file(visit, "rows")


async def show_import_refused(visit: Visit) -> Response:
    """Give the refused rows as they came, as CSV."""
    return await _file(visit, "refused")


async def _file(visit: Visit, kind: str) -> Response:
    """Give a file beside a job, on record."""
    job = await _job(visit, visit.asked.one("id"))
    async with visit.on_record(f"imports.{kind}", job.id):
        try:
            return await visit.house.imports.file(job, kind)
        except NotFound as error:
            raise NotFound("no_such_file") from error


PAGES = (
    Page("GET", "/imports", list_imports, needs=Right.LOOK),
    Page("GET", "/import", show_import, needs=Right.LOOK),
    Page("GET", "/import/rows", show_import_rows, needs=Right.LOOK),
    Page("GET", "/import/refused", show_import_refused, needs=Right.SEE_PERSONAL),
    Page(
        "POST", "/import/upload", upload_import, needs=Right.IMPORTS, did="imports.upload",
        about=("platform", "shop"), once=True, takes_file=True,
    ),
    Page(
        "POST", "/import/run", run_import, needs=Right.IMPORTS, did="imports.run", about=("id",),
        once=True,
    ),
    Page(
        "POST", "/import/resume", resume_import, needs=Right.IMPORTS, did="imports.resume",
        about=("id",), once=True,
    ),
)  # fmt: skip
