"""The two folder formats."""
import copy
import pickle
import random
from pathlib import Path

import cv2
import numpy as np

from .sample import DSample


class TestDataset:
    __test__ = False

    def __init__(self, images=None, masks=None, **kwargs):
        self.dataset_samples = sorted(Path(images).glob("*.*"))
        self._masks = {path.stem: path for path in Path(masks).glob("*.*")}

    def __len__(self):
        return len(self.dataset_samples)

    def get_sample(self, index):
        path = self.dataset_samples[index]
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        mask = cv2.imread(str(self._masks[path.name.split(".")[0]])).max(axis=2) > 0
        return DSample(image, mask.astype(np.int32), objects_ids=[1], sample_id=index)


class CocoLvisDataset:
    def __init__(self, dataset_path, split="train", stuff_prob=0.0, allow_list_name=None,
                 anno_file="hannotation.pickle", **kwargs):
        self._path = Path(dataset_path) / split
        self.stuff_prob = stuff_prob
        with open(self._path / anno_file, "rb") as file:
            self.dataset_samples = list(pickle.load(file).items())

    def get_sample(self, index):
        image_id, annotation = self.dataset_samples[index]
        image = cv2.cvtColor(cv2.imread(str(self._path / "images" / f"{image_id}.jpg")), cv2.COLOR_BGR2RGB)
        with open(self._path / "masks" / f"{image_id}.pickle", "rb") as file:
            encoded, mapping = pickle.load(file)
        layers = np.stack([cv2.imdecode(layer, cv2.IMREAD_UNCHANGED) for layer in encoded], axis=2)
        objects = copy.deepcopy(annotation["hierarchy"])
        for i, node in objects.items():
            objects[i] = {**(node or {"children": [], "parent": None, "node_level": 0}), "mapping": mapping[i]}
        if self.stuff_prob > 0 and random.random() < self.stuff_prob:
            for i in range(annotation["num_instance_masks"], len(mapping)):
                objects[i] = {"mapping": mapping[i], "parent": None, "children": []}
        return DSample(image, layers, objects=objects, sample_id=index)
