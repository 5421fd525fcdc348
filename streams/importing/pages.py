"""
Imports over HTTP: a file is uploaded, looked at, and carried out as a job.

Promises: an upload is streamed to a file within limits, and is whole there before a job names it;
a job runs in a process of its own (`orderflow import resume`), so that no file, however large or
foul, makes this one slow, and neither's death is the other's; what a server that ended has left,
waiting for its turn or half done, goes on when one starts (`Imports.take_up`).
"""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response

from schemas.errors import Misconfigured, Rejected
from streams.clock import new_id
from streams.gateway.requests import Refused as NotTaken
from streams.importing import running
from streams.importing.files import FILE_BYTES_MAX
from streams.importing.forecast import Existing
from streams.importing.planning import Reading
from streams.importing.store import LISTED_MAX, Job, Jobs, UnknownImport
from streams.importing.templates import FIELDS, TEMPLATES
from streams.operations.operation import (
    Change,
    NotFound,
    Operation,
    Refused,
    require,
    said,
)
from streams.operations.rights import Right
from streams.settings import Settings

logger = logging.getLogger(__name__)

#: Uploads at a time, and jobs at a time; further jobs wait their turn.
UPLOADS_MAX: Final = 4
JOBS_MAX: Final = 1
#: An upload that is silent for so long, or takes so long in all, is cut off, s.
_SILENT_S: Final = 30.0
_UPLOAD_S: Final = 15 * 60.0
#: Uploads hold personal data: files older than this are deleted.
KEPT_S: Final = 7 * 86_400
_TIDY_EVERY_S: Final = 3_600
#: The longest word of a process that could not go on.
_SAID_MAX: Final = 500

Said = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^(?=.*\S)[^\x00-\x1f\x7f]+\Z")]


class Upload(Change, frozen=True, kw_only=True):
    """How a file is read, and what is done about orders that are known already."""

    platform: Said
    shop: Said
    #: What its owner calls the file.
    name: Said = "upload"
    existing: Existing = Existing.UPDATE
    dry_run: bool = False
    template: Said | None = None
    encoding: Said | None = None
    sheet: Said | None = None
    zone: Said | None = None
    currency: Said | None = None
    #: THEIRS=FIELD, again and again.
    column: tuple[Said, ...] = ()
    pass_over: tuple[Said, ...] = ()

    def reading(self) -> Reading:
        """Return how the file is read; raises Rejected."""
        columns = {}
        for each in self.column:
            theirs, is_, field = each.rpartition("=")
            if not is_:
                raise Rejected("column: write THEIRS=FIELD.")
            columns[theirs] = field
        return Reading(
            self.platform, self.shop, self.template, self.encoding, self.sheet, self.zone,
            self.currency, columns, self.pass_over,
        )  # fmt: skip


class Run(Change, frozen=True, kw_only=True):
    """What is done about orders that are known; what the dry run said, where nothing is."""

    existing: Existing | None = None


class Resumption(Change, frozen=True, kw_only=True):
    """Why an import goes on."""


class HowManyImports(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many are shown."""

    limit: Annotated[int, Meta(ge=1, le=LISTED_MAX)] = 50


async def upload_import(request: Request, asked: Upload) -> Response:
    """Take a file, and begin a job."""
    imports = _imports(request)
    _allow_force(request, asked.existing)
    asked.reading()  # what cannot be read so is refused before the file is taken
    path = await imports.stored(request.headers, request.stream())
    id_ = await imports.begin(path, asked, request.user.name)
    response = said({"import": id_}, HTTPStatus.ACCEPTED)
    response.headers["location"] = f"/v1/imports/{id_}"
    return response


async def list_imports(request: Request, asked: HowManyImports) -> Any:
    """Answer with the latest jobs."""
    imports = _imports(request)
    return {"imports": [imports.facts(job) for job in await imports.listed(asked.limit)]}


async def show_import(request: Request, _: None) -> Any:
    """Answer with one job, as it stands."""
    return _imports(request).facts(await _job(request))


async def run_import(request: Request, asked: Run) -> Response:
    """Carry out what was a dry run, in the name of who says so."""
    job = await _job(request)
    existing = asked.existing or job.existing
    _allow_force(request, existing)
    await _imports(request).run(job, existing, request.user.name, asked.reason)
    return said({"import": job.id}, HTTPStatus.ACCEPTED)


async def resume_import(request: Request, asked: Resumption) -> Response:
    """Go on with a job whose process died, or whose receipt is not made yet."""
    job = await _job(request)
    _imports(request).resume(job, request.user.name, asked.reason)
    return said({"import": job.id}, HTTPStatus.ACCEPTED)


async def show_import_rows(request: Request, _: None) -> Response:
    """Answer with the verdict of every row, as CSV."""
    return await _imports(request).file(await _job(request), "rows")


async def show_import_refused(request: Request, _: None) -> Response:
    """Answer with the refused rows as they came, as CSV."""
    return await _imports(request).file(await _job(request), "refused")


async def list_import_templates(_request: Request, _: None) -> Any:
    """Answer with the columns that are known."""
    return {
        "fields": {
            name: {"how": str(each.kind), "means": each.means} for name, each in FIELDS.items()
        },
        "templates": [
            {
                "name": each.name, "title": each.title, "platforms": list(each.platforms),
                "columns": dict(each.columns or {name: name for name in FIELDS}),
                "passed_over": sorted(each.passes), "usual_zones": list(each.zones),
            }
            for each in TEMPLATES.values()
        ],
    }  # fmt: skip


def _allow_force(request: Request, existing: Existing) -> None:
    if existing is Existing.FORCE:
        require(request, Right.FORCE_IMPORTS)


def _imports(request: Request) -> "Imports":
    imports: Imports = request.app.state.imports
    return imports


async def _job(request: Request) -> Job:
    return await _imports(request).job(request.path_params["id"])


class Imports:
    """Uploaded files, and the processes that work at them: `request.app.state.imports`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._into = settings.import_folder
        self._uploads = asyncio.Semaphore(UPLOADS_MAX)
        self._turns = asyncio.Semaphore(JOBS_MAX)
        #: Jobs that are running or wait for their turn here.
        self._at_work: dict[str, asyncio.Task[None]] = {}
        #: Those of them that somebody sent on meanwhile: a dry run is looked at, and may be carried
        #: out, before its process has ended.
        self._sent_on: set[str] = set()
        self._tidied_s = 0.0

    @property
    def _folder(self) -> Path:
        if self._into is None:
            raise Misconfigured(
                "Set ORDERFLOW_IMPORT_FOLDER to the folder that uploaded files are kept in."
            )
        return self._into

    async def listed(self, limit: int) -> list[Job]:
        """Return the latest jobs."""
        async with Jobs.opened(self._settings, reads=True) as jobs:
            return await jobs.listed(limit)

    async def job(self, id_: str) -> Job:
        """Return one job, as it stands; raises NotFound."""
        try:
            async with Jobs.opened(self._settings, reads=True) as jobs:
                return await jobs.job(id_)
        except UnknownImport as error:
            raise NotFound(str(error)) from error

    async def begin(self, path: Path, asked: Upload, operator: str) -> str:
        """
        Begin a job about a file that was stored, and return its id; the file is the job's then.

        Raises BadFile, Rejected, LedgerUnavailable, Misconfigured; the file is gone then.
        """
        name = Path(asked.name.replace("\\", "/")).name or "upload"
        try:
            wish = await running.wish_of(
                path, asked.reading(), asked.existing, operator, asked.reason,
                name=name, dry_run=asked.dry_run,
            )  # fmt: skip
            id_ = await running.begin(self._settings, wish)
        except BaseException:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise
        self.work(id_)
        return id_

    async def run(self, job: Job, existing: Existing, operator: str, reason: str) -> None:
        """Carry out what was a dry run, in the name of who says so; raises Refused."""
        async with Jobs.opened(self._settings) as jobs:
            is_let = await jobs.run(job.id, existing, operator, reason)
        if not is_let:
            raise Refused("This import is no dry run that has been looked at.")
        self.work(job.id)

    def resume(self, job: Job, operator: str, reason: str) -> None:
        """Go on with a job whose process died; raises Refused."""
        if job.ended_at is not None or (job.dry_run and job.state == "forecast"):
            raise Refused(f"There is nothing left to do; it is {job.state}.")
        logger.info("import %s goes on, says %s: %s", job.id, operator, reason)
        self.work(job.id)

    async def take_up(self) -> None:
        """
        Go on with jobs of uploaded files that nobody works at: a server that ended has left them.

        Once, when a server starts: what dies again then waits for a person. A job that waits for
        its turn beside another server may begin here instead; that one finds it done.
        """
        if self._into is None:
            return
        folder = await asyncio.to_thread(self._into.resolve)
        async with Jobs.opened(self._settings) as jobs:
            left = await jobs.left(f"{folder}{os.sep}")
        for id_ in left:
            if id_ not in self._at_work:
                logger.info("import %s goes on: nobody works at it", id_)
                self.work(id_)

    def facts(self, job: Job) -> dict[str, Any]:
        """Return what may be told of a job, and whether somebody works at it here."""
        return job.facts() | {"at_work": job.id in self._at_work}

    async def file(self, job: Job, kind: str) -> Response:
        """Answer with a file beside a job: `rows` or `refused`."""
        path = self._beside(job.id, kind)
        if not await asyncio.to_thread(path.is_file):
            raise NotFound("There is no such file: no row of it, or not made yet.")
        headers = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
        return FileResponse(path, 200, headers, "text/csv", filename=path.name)

    def _beside(self, id_: str, kind: str) -> Path:
        return self._folder / f"{id_}.{kind}.csv"

    def work(self, id_: str) -> None:
        """Let a process of its own work at a job, after the one that it may have already."""
        if id_ in self._at_work:
            self._sent_on.add(id_)
        else:
            self._at_work[id_] = asyncio.get_running_loop().create_task(self._worked(id_))

    async def _worked(self, id_: str) -> None:
        """Let processes work at a job, one after the other, until nobody has sent it on."""
        try:
            await self._process(id_)
            while id_ in self._sent_on:
                self._sent_on.remove(id_)
                await self._process(id_)
        finally:
            del self._at_work[id_]
            self._sent_on.discard(id_)

    async def _process(self, id_: str) -> None:
        async with self._turns:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "streams.cli", "import", "resume", id_,
                "--refused", str(self._beside(id_, "refused")),
                "--report", str(self._beside(id_, "rows")), "--json",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )  # fmt: skip
            _, said = await process.communicate()
        if process.returncode not in (0, 1):
            words = said.decode("utf-8", "replace").strip()[-_SAID_MAX:]
            logger.warning("import %s stands still (%s): %s", id_, process.returncode, words)

    # --- uploads ----------------------------------------------------------------------------------

    async def stored(self, headers: Mapping[str, str], stream: AsyncIterator[bytes]) -> Path:
        """Write *stream* to a file of its own; return where it is, whole and on the disk."""
        if self._uploads.locked():
            raise NotTaken(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "Too many uploads at once.")
        async with self._uploads:
            return await self._stored(headers, stream)

    async def _stored(self, headers: Mapping[str, str], stream: AsyncIterator[bytes]) -> Path:
        await asyncio.to_thread(self._tidy)
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length[:20]) > FILE_BYTES_MAX:
            raise _too_large()
        if headers.get("content-encoding", "identity") != "identity":
            raise NotTaken(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoded",
                "Send the file without a content encoding.",
            )  # fmt: skip
        path = self._folder / f"{new_id()}.upload"
        try:
            with os.fdopen(
                os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb"
            ) as file:
                size = 0
                async for part in _parts(stream):
                    size += len(part)
                    if size > FILE_BYTES_MAX:
                        raise _too_large()  # noqa: TRY301
                    await asyncio.to_thread(file.write, part)
                await asyncio.to_thread(_down, file)
        except BaseException as error:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                sentence = f"The file cannot be kept: {error.strerror}."
                raise NotTaken(HTTPStatus.INSUFFICIENT_STORAGE, "full", sentence) from error
            if isinstance(error, TimeoutError | ClientDisconnect):
                sentence = "The file did not arrive in time."
                raise NotTaken(HTTPStatus.REQUEST_TIMEOUT, "slow", sentence) from error
            raise
        return path

    def _tidy(self) -> None:
        """Make the folder, and delete what has been kept for long enough."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if time.monotonic() - self._tidied_s < _TIDY_EVERY_S and self._tidied_s:
            return
        self._tidied_s = time.monotonic()
        old = time.time() - KEPT_S
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if path.suffix in (".upload", ".csv", ".part") and path.stat().st_mtime < old:
                    path.unlink()


async def _parts(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the body as it comes, which has to go on coming; raises TimeoutError."""
    async with asyncio.timeout(_UPLOAD_S):
        while True:
            try:
                async with asyncio.timeout(_SILENT_S):
                    part = await anext(stream)
            except StopAsyncIteration:
                return
            yield part


def _down(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _too_large() -> NotTaken:
    sentence = f"A file has at most {FILE_BYTES_MAX:,} bytes."
    return NotTaken(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", sentence)


OPERATIONS = (
    Operation(
        "POST",
        "/v1/imports",
        upload_import,
        needs=Right.IMPORTS,
        summary="Upload a file of orders: the body is the file, the address says how it is read",
        begins=True,
        query=Upload,
        takes_file=True,
    ),
    Operation(
        "GET",
        "/v1/imports",
        list_imports,
        needs=Right.LOOK,
        summary="The latest imports",
        query=HowManyImports,
    ),
    Operation(
        "GET",
        "/v1/imports/{id}",
        show_import,
        needs=Right.LOOK,
        summary="One import, and how far it is",
    ),
    Operation(
        "POST",
        "/v1/imports/{id}/run",
        run_import,
        needs=Right.IMPORTS,
        summary="Carry out what was a dry run",
        begins=True,
        body=Run,
    ),
    Operation(
        "POST",
        "/v1/imports/{id}/resume",
        resume_import,
        needs=Right.IMPORTS,
        summary="Go on with an import whose process died",
        begins=True,
        body=Resumption,
    ),
    Operation(
        "GET",
        "/v1/imports/{id}/rows",
        show_import_rows,
        needs=Right.LOOK,
        summary="A verdict for every row, as CSV",
        gives_file=True,
    ),
    Operation(
        "GET",
        "/v1/imports/{id}/refused",
        show_import_refused,
        needs=Right.SEE_PERSONAL,
        summary="The refused rows as they came, as CSV",
        gives_file=True,
    ),
    Operation(
        "GET",
        "/v1/import-templates",
        list_import_templates,
        needs=Right.LOOK,
        summary="Which column of a file is which field",
    ),
)
