"""labelme's JSON files. Polygons run along the edges of pixels, as labelme itself draws them."""
from __future__ import annotations

import os
from pathlib import Path

from utils.files import shown_name

from .base import Annotated, Writer
from .polygons import edge_polygons


class LabelmeWriter(Writer):
    """A JSON file a picture with polygons; the parts of one object share a group_id."""

    title = "labelme JSON"
    description = "a file a picture, to go on in labelme; the pictures stay where they are"

    def add(self, picture: Annotated) -> None:
        """The picture's file."""
        height, width = picture.shape
        shapes = [
            {"label": picture.label(target), "points": polygon[:, ::-1].tolist(), "group_id": target.id,
             "description": "", "shape_type": "polygon", "flags": {}}
            for target in picture.objects for polygon in edge_polygons(picture.mask(target))
        ]
        folder = (self.to / picture.stem).parent.resolve()
        image_path = Path(os.path.relpath(picture.picture.path.resolve(), folder)).as_posix()
        self.write_json(f"{picture.stem}.json", {
            "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": shown_name(image_path), "imageData": None,
            "imageHeight": height, "imageWidth": width})
