"""Fixtures of the conversion tests."""
from pathlib import Path

import pytest
from prepare_helpers import write_photos


def pytest_configure(config) -> None:
    # pycocotools 2.0.11 meets numpy 2.4 with a warning of its own
    config.addinivalue_line("filterwarnings", "ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos, named as COCO's."""
    return write_photos(tmp_path / "photos")
