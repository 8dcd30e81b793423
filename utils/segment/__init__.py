"""Photos with masks of one concept become a model: `python -m utils.segment train DATA --out DIR`.

From the inside out:

- segmentation: networks, prediction, losses and training in one file that stands alone, an upload by itself.
- data: folders of photos with masks as samples; models: names of models that come with the package.
- training: a training with log, curves, contact sheets and a state to go on from.
- prediction, evaluation, report: masks of a folder; how good they are, as CSV and as one page.
- compare, grade, speed: three networks on one split; the bird grader's mark; runtimes side by side.

From Python, for another package:

    result = train(samples, out, Recipe(minutes=1), start="people.pth", held_out=names, quiet=True)
    model = open_concept_model(result.model)
    probability = probabilities(model, image)                       # float32 (H, W) of uint8 (H, W, 3) RGB
"""
from utils.segment.data import PhotoWithMask, open_data
from utils.segment.models import open_concept_model
from utils.segment.segmentation import ConceptModel, Recipe, SegmentationError, Settings, clean_up, probabilities
from utils.segment.training import TrainingResult, train

__all__ = ["ConceptModel", "PhotoWithMask", "Recipe", "SegmentationError", "Settings", "TrainingResult", "clean_up",
           "open_concept_model", "open_data", "probabilities", "train"]
