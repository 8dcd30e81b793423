"""Browsers and servers for the tests of the annotation page."""
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="Playwright is not installed: pip install -r tests/requirements.txt")

import uvicorn  # noqa: E402
from annotate.stub import stub_editor, write_pictures  # noqa: E402
from person import PHOTO, Person, Server, start_process  # noqa: E402

from utils.annotate.__main__ import listen  # noqa: E402
from utils.annotate.server import create_app  # noqa: E402


@pytest.fixture
def serve_process(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts processes that end with the test."""
    servers = []

    def serve_now(**options) -> Server:
        servers.append(start_process(tmp_path, **options))
        return servers[-1]

    yield serve_now
    for server in servers:
        server.kill()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """Starts a server in a thread of this process, on the pictures in tmp_path/images."""
    running = []

    def serve_now() -> Server:
        masks = tmp_path / "masks"
        editor = stub_editor(tmp_path / "images", tmp_path / "out", masks if masks.is_dir() else None)
        listener = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(create_app(editor), log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread))
        return Server(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}/")

    yield serve_now
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture
def person(browser, serve, tmp_path) -> Iterator[Person]:
    """At a page with the photo of an apple, called a.jpg, and a small picture b.png."""
    write_pictures(tmp_path / "images", "b.png")
    shutil.copy(PHOTO, tmp_path / "images" / "a.jpg")
    someone = Person(browser, serve())
    yield someone
    assert someone.problems == []
    someone.leave()
