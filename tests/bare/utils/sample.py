"""One annotated image."""
import numpy as np


class DSample:
    def __init__(self, image, encoded_masks, objects=None, objects_ids=None, ignore_ids=None, sample_id=None,
                 imname=None):
        self.image = image
        self._encoded_masks = encoded_masks if encoded_masks.ndim == 3 else encoded_masks[:, :, None]
        self._objects = objects if objects is not None else {i: {"mapping": (0, i)} for i in objects_ids}
        self.sample_id = sample_id
        self.imname = imname

    @property
    def gt_mask(self):
        return self.get_object_mask(next(iter(self._objects)))

    def get_object_mask(self, obj_id):
        layer, label = self._objects[obj_id]["mapping"]
        return (self._encoded_masks[:, :, layer] == label).astype(np.int32)
