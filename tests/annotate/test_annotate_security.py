"""Whom the annotation server refuses: foreign names and pages, hostile requests, browsers without a token."""
import json
import os
import socket
import threading
import uuid
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient
from stub import CLICK, HOME, first_id, stub_editor, write_pictures

from utils.annotate import patience
from utils.annotate.__main__ import listen
from utils.annotate.security import MAX_BODY_BYTES
from utils.annotate.server import create_app

ROOT = Path(__file__).resolve().parents[2]


# ---------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "[", "a b"])
def test_foreign_names_are_refused(client, host):
    answer = client.get("/api/project", headers={"host": host})
    assert answer.status_code == 403 and "error" in answer.json()


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:9999", "LOCALHOST", "[::1]:8000"])
def test_this_machines_names_are_welcome(client, host):
    assert client.get("/api/project", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("headers", [
    {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:9000"}, {"origin": ""},
    {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
])
def test_foreign_pages_are_refused(client, headers):
    picture_id = first_id(client)
    body = {"id": uuid.uuid4().hex, "revision": 0, "label": "car", **CLICK}
    for _ in range(2):
        assert client.post(f"/api/pictures/{picture_id}/change", json=body, headers=headers).status_code == 403
    assert client.get(f"/api/pictures/{picture_id}").json()["revision"] == 0


def test_a_link_on_another_page_may_lead_to_ours_only(client):
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get("/", headers={**link, "sec-fetch-mode": "no-cors"}).status_code == 403
    assert client.get("/api/project", headers=link).status_code == 403


def test_a_form_cannot_post(client):
    answer = client.post(f"/api/pictures/{first_id(client)}/change", content=json.dumps(CLICK),
                         headers={"content-type": "text/plain"})
    assert answer.status_code == 403


def test_every_answer_is_armoured(client):
    for path in ("/", "/api/project", "/nowhere", f"/api/pictures/{first_id(client)}/image"):
        headers = client.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", [
    "/page/..%2fserver.py", "/page/%2e%2e/server.py", "/api/pictures/..%2f..%2fproject.json", "/api/pictures/a.png",
    "/api/pictures/{id}/masks/..%2f..%2f..%2fproject.json", "/api/pictures/{id}/masks/%00.png",
    "/api/pictures/{id}/masks/....//project.json", "/api/pictures/{id}/proposals/-1", "/api/pictures/{id}/proposals/0",
    "//etc/passwd", "/page/", "/page/index.html%00.js",
])
def test_no_spelling_leaves_the_folders(client, path):
    answer = client.get(path.replace("{id}", first_id(client)))
    assert answer.status_code == 404 and answer.json()["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff", b"[]", b"1", b'{"op": "click"}', b'{"op": {}}'])
def test_bodies_that_are_no_change(client, body):
    answer = client.post(f"/api/pictures/{first_id(client)}/change", content=body,
                         headers={"content-type": "application/json"})
    assert answer.status_code in (400, 409) and answer.json()["error"].endswith(".")


@pytest.mark.parametrize("is_declared", [True, False])
def test_large_bodies_are_refused(client, is_declared):
    def pieces():
        for _ in range(MAX_BODY_BYTES // 2**16 + 2):
            yield b" " * 2**16

    content = b"".join(pieces()) if is_declared else pieces()
    answer = client.post(f"/api/pictures/{first_id(client)}/change", content=content,
                         headers={"content-type": "application/json"})
    assert answer.status_code == 413


# ---------------------------------------------------------------------------------------------- the token


def test_a_token_lets_one_browser_in(editor):
    tokens: list[str] = []
    app = create_app(editor, hosts=None, announce_token=tokens.append)

    def browser() -> TestClient:
        return TestClient(app, base_url="http://gpu-machine:8000", follow_redirects=False)

    stranger, friend, late = browser(), browser(), browser()
    assert stranger.get("/").status_code == stranger.get("/api/project").status_code == 401
    assert stranger.get("/?token=").status_code == stranger.get("/?token=%ff").status_code == 401
    assert stranger.get(f"/api/project?token={tokens[0]}").status_code == 401
    entered = friend.get(f"/?token={tokens[0]}")
    assert entered.status_code == 303 and entered.headers["location"] == "/"
    assert "HttpOnly" in entered.headers["set-cookie"] and "samesite=lax" in entered.headers["set-cookie"].lower()
    assert friend.get("/").status_code == friend.get("/api/project").status_code == 200
    assert late.get(f"/?token={tokens[0]}").status_code == 401  # it was for one browser
    assert len(tokens) == 2 and late.get(f"/?token={tokens[1]}").status_code == 303
    assert friend.get("/api/project").status_code == 200
    friend.cookies.clear()
    friend.cookies.set("annotate_8000", "x")
    assert friend.get("/api/project").status_code == 401


# ---------------------------------------------------------------------------------------------- hostile or odd


def test_half_a_request_is_closed(folder, monkeypatch):
    monkeypatch.setattr(patience, "REQUEST_SECONDS", 0.3)
    with listen("127.0.0.1", 0) as listener:
        running = uvicorn.Server(uvicorn.Config(create_app(stub_editor(folder / "images", folder / "out")),
                                                http=patience.PatientProtocol, log_level="warning"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        for sent in (b"", b"GET /api/pro", b"POST /api/labels HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                     b"application/json\r\nContent-Length: 99\r\n\r\n{"):
            with socket.create_connection(listener.getsockname(), timeout=60) as connection:
                connection.sendall(sent)
                assert b"200" not in connection.recv(1000)  # and the other end closes
        with socket.create_connection(listener.getsockname(), timeout=60) as connection:
            connection.sendall(b"GET /api/project HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200 OK" in connection.recv(1000)
        running.should_exit = True
        thread.join()


def swap_for_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def swap_for_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(write_pictures(path.parents[1] / "elsewhere", "secret.png") / "secret.png")


@pytest.mark.parametrize("swap", [swap_for_fifo, swap_for_link])
def test_what_is_swapped_in_for_a_picture_is_not_read(client, folder, swap):
    picture_id = first_id(client)
    swap(folder / "images" / "a.png")
    for kind in ("", "/image", "/thumbnail"):
        answer = client.get(f"/api/pictures/{picture_id}{kind}")
        assert answer.status_code == 422 and "a.png" in answer.json()["error"]


def entered(app, address: str, token: str) -> TestClient:
    browser = TestClient(app, base_url=address)
    assert browser.get(f"/?token={token}", follow_redirects=False).status_code == 303
    return browser


def test_looking_does_not_use_up_the_token(editor):
    tokens: list[str] = []
    app = create_app(editor, announce_token=tokens.append)
    assert TestClient(app, base_url=HOME).head(f"/?token={tokens[0]}").status_code == 401
    entered(app, HOME, tokens[0])


def test_servers_on_two_ports_share_a_browser(editor):
    tokens: list[str] = []
    apps = [create_app(editor, announce_token=tokens.append) for _ in range(2)]
    first = entered(apps[0], "http://127.0.0.1:8000", tokens[0])
    second = entered(apps[1], "http://127.0.0.1:8001", tokens[1])
    both = {**dict(first.cookies), **dict(second.cookies)}  # browsers send all cookies of a machine to each port
    assert len(both) == 2
    for browser in (first, second):
        browser.cookies.clear()
        browser.cookies.update(both)
        assert browser.get("/api/project").status_code == 200


def test_a_browser_that_was_let_in_is_known_to_the_next_server(editor, tmp_path):
    tokens: list[str] = []
    kept = tmp_path / "browsers"
    browser = entered(create_app(editor, announce_token=tokens.append, browsers=kept), HOME, tokens[0])
    assert all(value not in kept.read_text() for value in browser.cookies.values())
    assert kept.stat().st_mode & 0o077 == 0
    later = TestClient(create_app(editor, announce_token=tokens.append, browsers=kept), base_url=HOME,
                       cookies=dict(browser.cookies))
    assert later.get("/api/project").status_code == 200
    assert TestClient(later.app, base_url=HOME).get("/api/project").status_code == 401
