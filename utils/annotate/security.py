"""Who may talk to the server: this machine's own page, or a browser that showed the token.

Three layers, each a plain ASGI wrapper: the headers that every answer gets, the check of Host and Origin (a foreign
page in the same browser must not post here, and a foreign name that resolves to this machine is not this machine), and
the token, without which another user of this machine, or of the network, could read and change everything.
"""
from __future__ import annotations

import contextlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse

from utils.files import digest, write_whole

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable, Callable], Awaitable[None]]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
MAX_BODY_BYTES = 2 * 2**20
UPLOAD = "/api/import", "application/octet-stream"  # the path and type of files, which may be larger
COOKIE = "annotate_{port}"  # one a server: browsers send cookies to every port of a machine
POLICY = "; ".join([
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob:", "connect-src 'self'",
    "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
])
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def refusal(sentence: str, status: int, code: str = "") -> JSONResponse:
    """An answer that the page shows to the person."""
    return JSONResponse({"error": sentence, "code": code, "values": {}, "retry": False}, status)


class SafeHeaders:
    """Adds the protective headers to every answer."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Callable, send: Callable) -> None:
        """One connection, as ASGI has it."""
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class SameSite:
    """Refuses foreign names and foreign pages.

    Args:
        app: what is protected.
        hosts: names that the server may be called by, in lower case and without port; None for any name, where a token
            protects.
    """

    def __init__(self, app: App, hosts: frozenset[str] | None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Callable, send: Callable) -> None:
        """One connection, as ASGI has it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        problem = self._problem(scope["method"], scope["path"], Headers(scope=scope))
        if problem:
            await refusal(problem, 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _problem(self, method: str, path: str, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or _host_name(host) is None:
            return "The request names no host."
        if self.hosts is not None and _host_name(host) not in self.hosts:
            return "The page was called by a name that isn't this machine's; use the address that the server printed."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "The request comes from a foreign page."
        # A link on another page may lead to ours; it shows nothing by itself and can't be framed.
        is_link = method == "GET" and path == "/" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") and not is_link:
            return "The request comes from a foreign page."
        kind = headers.get("content-type", "").split(";")[0]  # both are none that a form of a foreign page can send
        if method not in ("GET", "HEAD") and kind != "application/json" and (path, kind) != UPLOAD:
            return "Changes are sent as JSON."
        return None


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


class BodyLimit:
    """Refuses bodies of more than MAX_BODY_BYTES, declared or not; uploads have their own limit."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Callable, send: Callable) -> None:
        """One connection, as ASGI has it."""
        is_upload = scope["type"] == "http" and (
            scope["path"], Headers(scope=scope).get("content-type", "").split(";")[0]) == UPLOAD
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD") or is_upload:
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more and len(body) <= MAX_BODY_BYTES:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            await refusal("The request is too large.", 413)(scope, receive, send)
            return
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])
        await self.app(scope, lambda: _next(messages, receive), send)


async def _next(messages: Any, receive: Callable) -> Any:
    for message in messages:
        return message
    return await receive()


class TokenGate:
    """Lets in browsers that showed the token once; they get a cookie, and the next browser needs a new token.

    Args:
        app: what is protected.
        announce: called with each new token.
        kept: file that remembers the browsers (as digests, for the owner's eyes), so that they needn't be let in anew
            when the server was started again; None to forget.
    """

    def __init__(self, app: App, announce: Callable[[str], None], kept: Path | None = None) -> None:
        self.app, self.announce, self._kept = app, announce, kept
        self._browsers = _read_lines(kept)
        self._renew()

    def _renew(self) -> None:
        self._token = secrets.token_urlsafe(24)
        self.announce(self._token)

    async def __call__(self, scope: Scope, receive: Callable, send: Callable) -> None:
        """One connection, as ASGI has it."""
        if scope["type"] != "http" or self._is_known(scope):
            await self.app(scope, receive, send)
            return
        await self._answer(scope)(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        try:
            morsel = SimpleCookie(Headers(scope=scope).get("cookie", "")).get(_cookie_name(scope))
        except CookieError:
            return False
        return morsel is not None and digest(morsel.value.encode()) in self._browsers

    def _answer(self, scope: Scope) -> Any:
        shown = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        is_right = hmac.compare_digest(shown.encode(), self._token.encode())
        if scope["path"] == "/" and scope["method"] == "GET" and is_right:  # a HEAD looks, and doesn't use it up
            return self._let_in(scope)
        sentence = "Open the full address that the server printed last: its token lets one browser in, once."
        return PlainTextResponse(sentence, 401) if scope["path"] == "/" else refusal(sentence, 401, "need_token")

    def _let_in(self, scope: Scope) -> Any:
        session = secrets.token_urlsafe(32)
        self._browsers.add(digest(session.encode()))
        answer = RedirectResponse("/", 303)
        answer.set_cookie(_cookie_name(scope), session, httponly=True, samesite="lax")  # a link may lead here
        if self._kept is not None:
            with contextlib.suppress(OSError):  # then the browser is let in until the server ends
                self._kept.touch(mode=0o600)
                write_whole(self._kept, "\n".join(sorted(self._browsers)).encode())
        self._renew()
        return answer


def _cookie_name(scope: Scope) -> str:
    return COOKIE.format(port=(scope.get("server") or ("", ""))[1])


def _read_lines(path: Path | None) -> set[str]:
    try:
        return set(path.read_text("utf-8").split()) if path else set()
    except (OSError, ValueError):
        return set()
