"""Models for the benchmark's tests: quick, exact, and some of them ill-behaved."""
import os
import threading
import time
from pathlib import Path

import numpy as np

from utils.clicker import Click, Clicker


class Disks:
    """The last mask with a disk about the last click added or taken away; `radius` is a part of the longer side."""

    radius = 0.12
    pred_thr = 0.4

    def set_input_image(self, image):
        self.image = image
        self.height, self.width = image.shape[:2]
        self.start = np.zeros((self.height, self.width), bool)

    def get_prediction(self, clicker, prev_mask=None):
        if prev_mask is not None:
            self.start = prev_mask > 0.5
        rows, columns = np.ogrid[: self.height, : self.width]
        mask = self.start.copy()
        for click in clicker.get_clicks():
            y, x = click.coords
            reach = self.radius * max(self.height, self.width)
            mask[(rows - y) ** 2 + (columns - x) ** 2 <= reach**2] = click.is_positive
        return mask.astype(np.float32)


class SmallDisks(Disks):
    radius = 0.08


class FromFile(Disks):
    """Has its radius from a file, as others have their weights."""

    def __init__(self):
        self.radius = float(Path("radius.txt").read_text(encoding="utf-8"))


class NotPickled(Disks):
    def __init__(self):
        self.lock = threading.Lock()


class SlowDisks(Disks):
    def get_prediction(self, clicker, prev_mask=None):
        time.sleep(0.01)
        return super().get_prediction(clicker, prev_mask)


class DislikesDark(Disks):
    """Raises on dark images."""

    def set_input_image(self, image):
        if image.mean() < 20:
            raise RuntimeError("too dark")
        super().set_input_image(image)


class DiesInTheDark(Disks):
    """Takes its process with it on dark images, as a crash of native code does."""

    def set_input_image(self, image):
        if image.mean() < 20:
            os.abort()
        super().set_input_image(image)


class CannotStart(Disks):
    """Has no prev_mask."""

    def get_prediction(self, clicker):
        return super().get_prediction(clicker)


class Understands(Disks):
    """Takes a list of clicks, strokes and contours: disks about all their points."""

    understands = ("click", "stroke", "contour")

    def get_prediction(self, clicker, prev_mask=None):
        assert isinstance(clicker, list)
        clicks = [Click(one.is_positive, point) for one in clicker
                  for point in ([one.coords] if isinstance(one, Click) else one.points)]
        return super().get_prediction(Clicker(init_clicks=clicks), prev_mask)


class Logits(Disks):
    """Returns something else than probabilities."""

    def get_prediction(self, clicker, prev_mask=None):
        return 10 * super().get_prediction(clicker, prev_mask)


one_object = SmallDisks()
no_model = "text"
