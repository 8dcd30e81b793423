"""What the tests of the annotation page share."""
import os
from pathlib import Path

import pytest
from stub import Annotator, editor_of, write_pictures


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
