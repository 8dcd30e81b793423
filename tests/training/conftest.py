"""What the tests of training ask for: data with a split to validate on, and sums in one order."""
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training_tools import add_val_split


@pytest.fixture
def folder(coco_lvis: Path) -> Path:
    """The small COCO_LVIS folder, with a split to validate on."""
    return add_val_split(coco_lvis)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one order, so that runs can be compared bit by bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
