"""The editor over HTTP: a Starlette application that the page in page/ talks to."""
from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import export
from .cache import ByteCache
from .editor import Editor
from .errors import AnnotationError, NotFoundError
from .pictures import as_jpeg, thumbnail
from .security import LOOPBACK, BodyLimit, SafeHeaders, SameSite, TokenGate, refusal

PAGE = Path(__file__).parent / "page"
PAGE_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
THUMBNAIL_CACHE_BYTES = 24 * 2**20
FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
NEED_MODEL = ("click", "delete click", "settings", "protect")  # and wait until it is loaded
FRESH = {"cache-control": "no-store"}


def create_app(
    editor: Editor, hosts: frozenset[str] | None = LOOPBACK, announce_token: Callable[[str], None] | None = None
) -> Any:
    """The application.

    Args:
        editor: does the work.
        hosts: names that the server may be called by; None for any.
        announce_token: called with a token that browsers must present, and with the next one when it is used up; no
            token is asked for if left out.

    Returns:
        An ASGI application.
    """
    service = _Service(editor)
    app: Any = Starlette(routes=service.routes(), exception_handlers={
        AnnotationError: lambda request, error: refusal(str(error), error.status),
        HTTPException: lambda request, error: refusal(f"{error.detail}.", error.status_code),
        Exception: _unforeseen,
    })
    app = BodyLimit(app)
    if announce_token is not None:
        app = TokenGate(app, announce_token)
    return SafeHeaders(SameSite(app, hosts))


async def _unforeseen(request: Request, error: Exception) -> Response:
    return refusal(f"The server made a mistake ({type(error).__name__}: {error}); nothing was changed.", 500)


class _Service:
    """The requests. All editing goes through one thread, in the order of arrival; looking has two of its own."""

    def __init__(self, editor: Editor) -> None:
        self.editor = editor
        self.project = editor.project
        self._editing = ThreadPoolExecutor(1, "editor")
        self._looking = ThreadPoolExecutor(2, "reader")
        self._exporting = ThreadPoolExecutor(1, "export")
        self._thumbnails = ByteCache(THUMBNAIL_CACHE_BYTES, size=len)
        self._job: dict[str, Any] | None = None
        self._page = {path.name: path.read_bytes() for path in PAGE.iterdir() if path.suffix in PAGE_TYPES}

    def routes(self) -> list[Route]:
        """All addresses; a picture is named by its id, a mask by its digest."""
        picture = "/api/pictures/{id:str}"
        return [
            Route("/", self.page),
            Route("/page/{file:str}", self.page),
            Route("/api/project", self.show_project),
            Route("/api/status", self.show_status),
            Route("/api/labels", self.add_label, methods=["POST"]),
            Route("/api/export", self.start_export, methods=["POST"]),
            Route(picture, self.show_picture),
            Route(picture + "/change", self.change, methods=["POST"]),
            Route(picture + "/image", self.show_image),
            Route(picture + "/thumbnail", self.show_thumbnail),
            Route(picture + "/masks/{name:str}", self.show_mask),
            Route(picture + "/proposals/{number:int}", self.show_proposal),
            Route(picture + "/probability", self.show_probability),
        ]

    async def _edit(self, function: Callable, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._editing, function, *arguments)

    async def _look(self, function: Callable, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._looking, function, *arguments)

    async def page(self, request: Request) -> Response:
        """The page's own files, and no others."""
        name = request.path_params.get("file", "index.html")
        if name not in self._page:
            raise NotFoundError("There is no such file.")
        kind = PAGE_TYPES[Path(name).suffix]
        return Response(self._page[name], media_type=kind, headers={"cache-control": "no-cache"})

    async def show_project(self, request: Request) -> Response:
        """The picture list, the labels and where everything is kept."""
        await self._edit(self.project.rescan)
        content = {
            "key": self.project.key,
            "name": self.project.images.resolve().name,
            "out": str(self.project.out.resolve()),
            "labels": self._labels(),
            "pictures": [self._listed(picture) for picture in self.project.pictures.values()],
            "formats": export.FORMATS,
        }
        return JSONResponse(content, headers=FRESH)

    def _labels(self) -> list[dict[str, str]]:
        return [{"name": label.name, "colour": label.colour} for label in self.project.labels]

    def _listed(self, picture: Any) -> dict[str, Any]:
        entry = {"id": picture.id, "name": picture.shown_name}
        return {**entry, **vars(self.project.summaries[picture.id])}

    async def show_status(self, request: Request) -> Response:
        """What goes on: the model, an export, and the revision of the picture that the page shows."""
        revision = self.editor.revision(request.query_params.get("picture", ""))
        content = {"model": self.editor.engine.status(), "job": self._job, "work": self.editor.work,
                   "revision": revision, "project": self.project.key}
        return JSONResponse(content, headers=FRESH)

    async def add_label(self, request: Request) -> Response:
        """A new class."""
        label = await _json(request)
        if not isinstance(label, dict) or not all(isinstance(label.get(key, ""), str) for key in ("name", "colour")):
            raise AnnotationError("A label has a name and perhaps a colour.")
        await self._edit(self.project.add_label, label.get("name", ""), label.get("colour"))
        return JSONResponse({"labels": self._labels()})

    async def show_picture(self, request: Request) -> Response:
        """The state of a picture; the model gets ready for it."""
        state = await self._edit(self.editor.open, request.path_params["id"])
        return JSONResponse(state, headers=FRESH)

    async def change(self, request: Request) -> Response:
        """One change; the answer is the new state, and it is on the disk."""
        picture_id, change = request.path_params["id"], await _json(request)
        if isinstance(change, dict) and change.get("op") in NEED_MODEL:
            await asyncio.to_thread(self.editor.engine.wait)  # here, so that others can look and draw meanwhile
        state = await self._edit(self.editor.change, picture_id, change)
        return JSONResponse({**state, "listed": self._listed(self.project.picture(picture_id))})

    async def show_image(self, request: Request) -> Response:
        """The picture as JPEG, as the model sees it."""
        picture = self.project.picture(request.path_params["id"])
        return await self._cached(request, picture.version(), lambda: as_jpeg(self.editor.image(picture)))

    async def show_thumbnail(self, request: Request) -> Response:
        """A small JPEG."""
        picture = self.project.picture(request.path_params["id"])
        key = (picture.id, picture.version())
        return await self._cached(request, key[1], lambda: self._thumbnails.get(key, lambda: thumbnail(picture.path)))

    async def _cached(self, request: Request, version: str, make: Callable[[], bytes]) -> Response:
        headers = {"etag": f'"{version}"', "cache-control": "private, no-cache"}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(await self._look(make), media_type="image/jpeg", headers=headers)

    async def show_mask(self, request: Request) -> Response:
        """A mask's outline; what is under a name never changes."""
        outline = await self._edit(self.editor.mask_outline, request.path_params["id"], request.path_params["name"])
        return JSONResponse(outline, headers=FOREVER)

    async def show_proposal(self, request: Request) -> Response:
        """A proposal's outline."""
        outline = await self._edit(self.editor.proposal_outline, request.path_params["id"],
                                   request.path_params["number"])
        return JSONResponse(outline, headers=FRESH)

    async def show_probability(self, request: Request) -> Response:
        """The probability map of the object in work, grey PNG."""
        await asyncio.to_thread(self.editor.engine.wait)
        png = await self._edit(self.editor.probability_png, request.path_params["id"])
        return Response(png, media_type="image/png", headers=FRESH)

    async def start_export(self, request: Request) -> Response:
        """Begins an export; how far it is stands in the status."""
        wish = await _json(request)
        kind = wish.get("format") if isinstance(wish, dict) else None
        if kind not in export.FORMATS:
            raise AnnotationError(f"The format must be one of {', '.join(export.FORMATS)}.")
        if self._job and self._job["state"] == "running":
            raise AnnotationError("An export is running already; wait for it.")
        to = self.project.out / "export" / kind
        self._job = {"state": "running", "done": 0, "total": 0, "format": kind}
        asyncio.get_running_loop().run_in_executor(self._exporting, self._export, kind, to)
        return JSONResponse({"job": self._job})

    def _export(self, kind: str, to: Path) -> None:
        def progress(done: int, total: int) -> None:
            self._job = {"state": "running", "done": done, "total": total, "format": kind}

        try:
            # A project of its own: reading for the export must not push the masks in work out of their cache.
            count = export.export(type(self.project)(self.project.out), to, kind, progress=progress)
            self._job = {"state": "done", "text": f"{export.counted(count)} written to {to.resolve()}", "format": kind}
        except AnnotationError as error:
            self._job = {"state": "failed", "text": str(error), "format": kind}
        except Exception as error:  # a thread's error would be seen by nobody
            self._job = {"state": "failed", "text": f"The export failed: {error!r}", "format": kind}


async def _json(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise AnnotationError("The request is not JSON.") from error
