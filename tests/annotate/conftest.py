"""What the tests of the annotation page share."""
import os
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from stub import HOME, Annotator, editor_of, stub_editor, write_pictures

from utils.annotate.editor import Editor
from utils.annotate.server import create_app


@pytest.fixture(autouse=True)
def nothing_waits_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests kill processes and never the machine; on a busy disk most of their time would be spent waiting for it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(os, "sync", lambda: None, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two pictures in images/."""
    write_pictures(tmp_path / "images", "a.png", "b.png")
    return tmp_path


@pytest.fixture
def person(folder: Path) -> Annotator:
    """Somebody at the first of them."""
    return Annotator(editor_of(folder))


@pytest.fixture
def editor(folder: Path) -> Editor:
    return stub_editor(folder / "images", folder / "out")


@pytest.fixture
def client(editor: Editor) -> TestClient:
    return TestClient(create_app(editor), base_url=HOME, raise_server_exceptions=False)
