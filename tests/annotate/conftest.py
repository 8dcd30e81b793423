"""What the tests of the annotation page share."""
from pathlib import Path

import pytest
from stub import Annotator, editor_of, write_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two pictures in images/."""
    write_pictures(tmp_path / "images", "a.png", "b.png")
    return tmp_path


@pytest.fixture
def person(folder: Path) -> Annotator:
    """Somebody at the first of them."""
    return Annotator(editor_of(folder))
