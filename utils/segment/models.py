"""One door from a name to a concept model: the shipped ones by name, others by file."""
from __future__ import annotations

from pathlib import Path

import torch

from utils.files import PathLike
from utils.segment.segmentation import MODEL_FILE, ConceptModel, fold_norms, load_model

SHIPPED = {"people": Path(__file__).with_name("people.pth")}  # README says what each was trained on


def model_path(name: PathLike) -> Path:
    """The file of a shipped model, of a training's folder, or the path itself."""
    path = Path(name)
    if str(name) in SHIPPED and not path.exists():
        return SHIPPED[str(name)]
    return path / MODEL_FILE if path.is_dir() else path


def open_concept_model(name: PathLike, device: str | torch.device = "cpu") -> ConceptModel:
    """A model for prediction alone, by the name of a shipped one, its file, or the folder of its training.

    Raises:
        SegmentationError: there is none, or it is no model of this package.
    """
    model = load_model(model_path(name), device)
    fold_norms(model)
    return model
