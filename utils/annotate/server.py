"""The editor over HTTP: a Starlette application that the page in page/ talks to."""
from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from utils.files import UserError
from utils.images import encode_jpeg

from . import operations
from .assist.assistant import LOOK_AHEAD, Assistant
from .cache import ByteCache
from .editor import Editor
from .errors import AnnotationError, NotFoundError, saving
from .export_job import ExportJob
from .import_job import OF_ONE_FILE, copied, opened_upload, path_within, read_request, received
from .import_objects import PLANS
from .pictures import Picture, thumbnail
from .security import LOOPBACK, BodyLimit, SafeHeaders, SameSite, TokenGate, refusal
from .statistics import statistics

PAGE = Path(__file__).parent / "page"
PAGE_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml",
              ".jpg": "image/jpeg"}
SAMPLE = PAGE / "sample.jpg"
THUMBNAIL_CACHE_BYTES = 24 * 2**20
FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
FRESH = {"cache-control": "no-store"}
JPEG_QUALITY = 93


def create_app(
    editor: Editor, hosts: frozenset[str] | None = LOOPBACK, announce_token: Callable[[str], None] | None = None,
    browsers: Path | None = None,
) -> Any:
    """The application.

    Args:
        editor: does the work.
        hosts: names that the server may be called by; None for any.
        announce_token: called with a token that browsers must present, and with the next one when it is used up; no
            token is asked for if left out.
        browsers: file that remembers who was let in, see TokenGate.

    Returns:
        An ASGI application.
    """
    service = _Service(editor)
    app: Any = Starlette(routes=service.routes(), exception_handlers={
        AnnotationError: lambda request, error: JSONResponse(error.body(), error.status),
        UserError: lambda request, error: refusal(f"{error}.", 400),
        HTTPException: lambda request, error: refusal(f"{error.detail}.", error.status_code),
        Exception: _unforeseen,
    })
    app = BodyLimit(app)
    if announce_token is not None:
        app = TokenGate(app, announce_token, browsers)
    return SafeHeaders(SameSite(app, hosts))


def _unforeseen(request: Request, error: Exception) -> Response:
    sentence = f"Something went wrong in the server ({type(error).__name__}); nothing was changed."
    return refusal(sentence, 500, "internal")


class _Service:
    """The handlers. Editing is done by one thread, decoding for show by another, an export by a third."""

    def __init__(self, editor: Editor) -> None:
        self.editor = editor
        self.project = editor.project
        self._editing, self._reading, self._previewing = (ThreadPoolExecutor(1) for _ in range(3))
        self._thumbnails: ByteCache[bytes] = ByteCache(THUMBNAIL_CACHE_BYTES, size=len)
        self._export = ExportJob(editor.project.out)
        self._is_importing = False
        self._changes = 0  # that wait or are being carried out
        self._hover = 0  # number of the last preview that was asked for
        self._page = {path.name: path.read_bytes() for path in PAGE.iterdir() if path.suffix in PAGE_TYPES}

    def routes(self) -> list[Route]:
        """All addresses; a picture is named by its id, a mask by its digest."""
        picture = "/api/pictures/{id:str}"
        return [
            Route("/", self.page),
            Route("/page/{file:str}", self.page),
            Route("/api/project", self.show_project),
            Route("/api/status", self.show_status),
            Route("/api/statistics", self.show_statistics),
            Route("/api/sample", self.add_sample, methods=["POST"]),
            Route("/api/labels", self.add_label, methods=["POST"]),
            Route("/api/labels/change", self.change_label, methods=["POST"]),
            Route("/api/labels/delete", self.delete_label, methods=["POST"]),
            Route("/api/import", self.take_in, methods=["POST"]),
            Route("/api/assist", self.show_assist),
            Route("/api/assist", self.command_assist, methods=["POST"]),
            Route("/api/assist/files/{name:str}", self.download_assist),
            Route("/api/export", self.start_export, methods=["POST"]),
            Route("/api/export/{name:str}", self.download),
            Route(picture, self.show_picture),
            Route(picture + "/change", self.change, methods=["POST"]),
            Route(picture + "/restore", self.restore, methods=["POST"]),
            Route(picture + "/image", self.show_image),
            Route(picture + "/thumbnail", self.show_thumbnail),
            Route(picture + "/masks/{name:str}", self.show_mask),
            Route(picture + "/proposals/{number:int}", self.show_proposal),
            Route(picture + "/outlines", self.show_outlines, methods=["POST"]),
            Route(picture + "/probability", self.show_probability),
            Route(picture + "/preview", self.preview),
        ]

    async def _edit(self, function: Callable, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._editing, function, *arguments)

    async def _read(self, function: Callable, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._reading, function, *arguments)

    async def page(self, request: Request) -> Response:
        """The page's own files, and no others."""
        name = request.path_params.get("file", "index.html")
        if name not in self._page:
            raise NotFoundError("There is no such file.")
        kind = PAGE_TYPES[Path(name).suffix]
        return Response(self._page[name], media_type=kind, headers={"cache-control": "no-cache"})

    # ------------------------------------------------------------------------------------------ the project

    async def show_project(self, request: Request) -> Response:
        """The picture list, the labels, what can be done and where everything is kept."""
        await self._edit(self.editor.rescan)
        return await self._project()

    async def _project(self) -> Response:
        content = {
            "key": self.project.key,
            "name": self.project.images.resolve().name,
            "out": str(self.project.out.resolve()),
            "labels": self._labels(),
            "pictures": await self._edit(lambda: [self._listed(each) for each in self.project.pictures.values()]),
            "formats": self._export.formats,
            "import_formats": list(PLANS),
            "assist": self.editor.assistant is not None,
            "operations": operations.described(),
            "limits": operations.limits(),
            "left_out": " ".join([*filter(None, [self.project.left_out]), *self.editor.problems]) or None,
        }
        return JSONResponse(content, headers=FRESH)

    def _labels(self) -> list[dict[str, Any]]:
        return [{"name": label.name, "colour": label.colour, "separate": label.separate}
                for label in self.project.labels]

    def _listed(self, picture: Picture) -> dict[str, Any]:
        known = self.project.summary(picture)
        mark = self.editor.assistant.mark(picture) if self.editor.assistant else {}
        return {"id": picture.id, "name": picture.shown_name, "status": known.status, "objects": known.objects,
                "clicks": known.clicks, **mark}

    async def show_status(self, request: Request) -> Response:
        """What goes on: the model, an export, and the revision of the picture that the page shows."""
        revision = self.editor.revision(request.query_params.get("picture", ""))
        content = {"model": self.editor.engine.status(), "job": self._export.state, "work": self.editor.work,
                   "revision": revision, "project": self.project.key,
                   "assist": self.editor.assistant.status() if self.editor.assistant else None}
        return JSONResponse(content, headers=FRESH)

    async def show_statistics(self, request: Request) -> Response:
        """Objects and clicks a label, progress over days, time a picture."""
        return JSONResponse(await self._read(statistics, self.project), headers=FRESH)

    async def add_sample(self, request: Request) -> Response:
        """A picture to try, for a folder without any."""
        await self._edit(self.project.add_sample, SAMPLE)
        await self._edit(self.editor.rescan)
        return await self._project()

    async def add_label(self, request: Request) -> Response:
        """A new class."""
        label = await _fields(request, "name", "colour")
        return await self._change_labels(self.project.add_label, label["name"], label["colour"])

    async def change_label(self, request: Request) -> Response:
        """A class gets another name or colour, or becomes another one."""
        label = await _fields(request, "name", "to", "colour")
        separate = (await _json(request)).get("separate")
        return await self._change_labels(self.project.change_label, label["name"], label["to"], label["colour"],
                                         separate if isinstance(separate, bool) else None)

    async def delete_label(self, request: Request) -> Response:
        """A class goes, its objects become another's."""
        label = await _fields(request, "name", "to")
        return await self._change_labels(self.project.delete_label, label["name"], label["to"])

    async def _change_labels(self, function: Callable, *arguments: Any) -> Response:
        await self._edit(function, *arguments)
        if self.editor.assistant:
            await self._edit(self.editor.assistant.renew)
        return JSONResponse({"labels": self._labels()})

    # ------------------------------------------------------------------------------------------ a picture

    async def show_picture(self, request: Request) -> Response:
        """The state of a picture; the model gets ready for it, the trainer for those that the page opens next."""
        coming = request.query_params.get("next", "").split(",")[:LOOK_AHEAD]
        return JSONResponse(await self._edit(self.editor.open, request.path_params["id"], coming), headers=FRESH)

    async def change(self, request: Request) -> Response:
        """One change; the answer is the new state, and it is on the disk."""
        picture_id, change = request.path_params["id"], await _json(request)
        self._changes += 1
        with contextlib.ExitStack() as stack:
            stack.callback(self._change_is_over)
            if self.editor.assistant:
                stack.enter_context(self.editor.assistant.answering())
            operation = operations.OPERATIONS.get(change.get("op")) if _names_operation(change) else None
            if operation and operation.needs_model:
                await asyncio.to_thread(self.editor.engine.wait)  # here, so that others can look and draw meanwhile
            state = await self._edit(self.editor.change, picture_id, change)
        return JSONResponse({**state, "listed": self._listed(self.project.picture(picture_id))})

    def _change_is_over(self) -> None:
        self._changes -= 1

    async def restore(self, request: Request) -> Response:
        """The last good session in the place of a damaged one."""
        return JSONResponse(await self._edit(self.editor.restore, request.path_params["id"]), headers=FRESH)

    async def preview(self, request: Request) -> Response:
        """The outline of the mask that a click would give; nothing if there is something better to do."""
        self._hover += 1
        mine, picture_id, query = self._hover, request.path_params["id"], request.query_params

        def is_wanted() -> bool:
            return self._changes == 0 and mine == self._hover

        change = {"op": "click", "positive": query.get("positive", "1") in ("1", "true"),
                  **{name: int(text) for name in ("y", "x", "proposal")
                     if (text := query.get(name, "")).isascii() and text.isdigit()}}
        outline = await asyncio.get_running_loop().run_in_executor(
            self._previewing, self.editor.preview, picture_id, change, is_wanted)
        return JSONResponse(outline, headers=FRESH) if outline else Response(status_code=204, headers=FRESH)

    async def show_image(self, request: Request) -> Response:
        """The picture as JPEG, as the model sees it."""
        picture = self.project.picture(request.path_params["id"])
        make = lambda: encode_jpeg(self.editor.image(picture), JPEG_QUALITY)  # noqa: E731
        return await self._cached(request, picture.version(), make)

    async def show_thumbnail(self, request: Request) -> Response:
        """A small JPEG."""
        picture = self.project.picture(request.path_params["id"])
        key = (picture.id, picture.version())
        return await self._cached(request, key[1], lambda: self._thumbnails.get(key, lambda: thumbnail(picture)))

    async def _cached(self, request: Request, version: str, make: Callable[[], bytes]) -> Response:
        headers = {"etag": f'"{version}"', "cache-control": "private, no-cache"}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(await self._read(make), media_type="image/jpeg", headers=headers)

    async def show_mask(self, request: Request) -> Response:
        """A mask's outline; what is under a name never changes."""
        outline = await self._edit(self.editor.mask_outline, request.path_params["id"], request.path_params["name"])
        return JSONResponse(outline, headers=FOREVER)

    async def show_proposal(self, request: Request) -> Response:
        """A proposal's outline."""
        outline = await self._edit(self.editor.proposal_outline, request.path_params["id"],
                                   request.path_params["number"])
        return JSONResponse(outline, headers=FRESH)

    async def show_outlines(self, request: Request) -> Response:
        """Many outlines at once."""
        outlines = await self._edit(self.editor.outlines, request.path_params["id"], await _json(request))
        return JSONResponse(outlines, headers=FRESH)

    async def show_probability(self, request: Request) -> Response:
        """The probability map of the object in work, grey PNG."""
        await asyncio.to_thread(self.editor.engine.wait)
        png = await self._edit(self.editor.probability_png, request.path_params["id"])
        return Response(png, media_type="image/png", headers=FRESH)

    # ------------------------------------------------------------------------------------------ assisted annotation

    def _assistant(self) -> Assistant:
        if self.editor.assistant is None:
            raise NotFoundError("The server was started without --assist.", "no_assist")
        return self.editor.assistant

    async def show_assist(self, request: Request) -> Response:
        """What the concept models are worth."""
        return JSONResponse(await self._read(self._assistant().panel), headers=FRESH)

    async def command_assist(self, request: Request) -> Response:
        """Train now, stop, or the gate."""
        await self._edit(self._assistant().command, await _json(request))
        return JSONResponse(self._assistant().status(), headers=FRESH)

    async def download_assist(self, request: Request) -> Response:
        """A concept model, or its masks."""
        path = await self._read(self._assistant().file, request.path_params["name"])
        return FileResponse(path, filename=path.name, headers=FRESH)

    # ------------------------------------------------------------------------------------------ imports and exports

    async def take_in(self, request: Request) -> Response:
        """Objects of a file in the served folder (JSON that names it), or of the file that is sent."""
        if self._is_importing:
            raise AnnotationError("Objects are being taken in already; wait for it.", "import_running")
        self._is_importing = True
        try:
            is_sent = request.headers.get("content-type", "").startswith("application/octet-stream")
            given = dict(request.query_params) if is_sent else await _json(request)
            format_name, kind = read_request(given)
            source = None if is_sent else path_within(self.project, given.get("path"))
            if source is not None and (source.is_dir() or format_name in OF_ONE_FILE):
                return JSONResponse(await self._edit(self.editor.import_objects, source, format_name, kind))
            with saving("The file"):
                path = await self._read(copied, source, self.project.out) if source else \
                    await received(request.stream(), given.get("name", ""), self.project.out)
            try:
                source = await self._read(opened_upload, path, format_name)
                return JSONResponse(await self._edit(self.editor.import_objects, source, format_name, kind))
            finally:
                await self._read(shutil.rmtree, path.parent, True)
        finally:
            self._is_importing = False

    async def start_export(self, request: Request) -> Response:
        """Begins an export; how far it is stands in the status."""
        self._export.start(await _json(request))
        return JSONResponse({"job": self._export.state})

    async def download(self, request: Request) -> Response:
        """A finished export as a zip file."""
        name = request.path_params["name"]
        archive = await self._read(self._export.archive, name)
        return FileResponse(archive, media_type="application/zip", filename=name, headers=FRESH)


def _names_operation(change: Any) -> bool:
    return isinstance(change, dict) and isinstance(change.get("op"), str)


async def _json(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise AnnotationError("The request is not JSON.") from error


async def _fields(request: Request, *names: str) -> dict[str, Any]:
    """The text fields of a request about a label; None for those that it leaves out, but for the first."""
    given = await _json(request)
    if not isinstance(given, dict) or not all(isinstance(given.get(name, ""), (str, type(None))) for name in names):
        raise AnnotationError("A label has a name and perhaps a colour.")
    return {**{name: given.get(name) for name in names}, names[0]: given.get(names[0]) or ""}
