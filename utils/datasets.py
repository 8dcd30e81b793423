"""The folders: images with masks beside them for testing, COCO_LVIS for training."""
from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from utils.coco_lvis import SampleError, check_sizes, full_id, read_annotations, read_rgb, read_sample
from utils.files import is_system_file, read_json
from utils.points_sampler import MultiPointSampler
from utils.sample import DSample

MAX_DRAWS = 100  # draws in a row without a usable sample after which the dataset is called broken


class ISDataset(Dataset):
    """Annotated images as training examples: an image, points of one of its objects, that object's mask.

    Subclasses provide `get_sample(index)`, which returns a DSample or raises SampleError, and `dataset_samples` or
    `get_samples_number()`.

    Args:
        augmentator: called as `augmentator(image=, mask=) -> {"image", "mask"}`, as an albumentations Compose is.
        points_sampler: chooses the object and its clicks; 12 points of each kind at most if left out.
        min_object_area: objects of fewer pixels (after augmentation) are never asked for.
        epoch_len: number of items in an epoch, each a random sample; -1 gives every sample once, in order.
    """

    dataset_samples: list[Any]

    def __init__(
        self,
        augmentator: Callable[..., dict[str, Any]] | None = None,
        points_sampler: MultiPointSampler | None = None,
        min_object_area: int = 1000,
        epoch_len: int = -1,
    ) -> None:
        self.augmentator = augmentator
        self.points_sampler = MultiPointSampler(max_num_points=12) if points_sampler is None else points_sampler
        self.min_object_area = min_object_area
        self.epoch_len = epoch_len
        self.unreadable: set[str] = set()
        self._worker_seed: int | None = None

    def get_sample(self, index: int) -> DSample:
        """The annotated image at this position.

        Raises:
            SampleError: a file of it is missing, damaged or does not fit the others.
        """
        raise NotImplementedError

    def get_samples_number(self) -> int:
        """Number of annotated images."""
        return len(self.dataset_samples)

    def __len__(self) -> int:
        """Number of items in an epoch."""
        return self.epoch_len if self.epoch_len > 0 else self.get_samples_number()

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One training example.

        Returns:
            "images" float32 tensor (3, H, W) RGB in [0, 1]; "points" float32 (2 * max_num_points, 3) of
            (y, x, index), positive ones first, (-1, -1, -1) for none; "instances" float32 (1, H, W).

        Raises:
            SampleError: no readable sample with an object in MAX_DRAWS draws.
        """
        sample = self._draw_usable_sample(index)
        self.points_sampler.sample_object(sample)
        return {
            "images": torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1))).float().div_(255),
            "points": np.asarray(self.points_sampler.sample_points(), dtype=np.float32),
            "instances": self.points_sampler.selected_mask,
        }

    def _draw_usable_sample(self, index: int) -> DSample:
        """The sample asked for, or a random other one while files fail or augmentation leaves no object."""
        if self.get_samples_number() == 0:
            raise SampleError("the dataset has no samples")
        if self.epoch_len > 0:
            index = random.randrange(self.get_samples_number())
        problem = f"no object of {self.min_object_area} pixels after augmentation"
        for _ in range(MAX_DRAWS):
            try:
                sample = self.get_sample(index)
            except SampleError as error:
                problem = str(error)
                self._report(problem)
            else:
                if self.augmentator is not None:
                    self._seed_augmentator()
                    sample.augment(self.augmentator)
                sample.remove_small_objects(self.min_object_area)
                if len(sample) > 0:
                    return sample
            index = random.randrange(self.get_samples_number())
        raise SampleError(f"none of {MAX_DRAWS} random samples was usable; the last problem: {problem}")

    def _seed_augmentator(self) -> None:
        """Gives albumentations' own random state, which every loader worker inherits alike, the worker's seed."""
        worker = get_worker_info()
        set_random_state = getattr(self.augmentator, "set_random_state", None)
        if worker is not None and worker.seed != self._worker_seed and set_random_state is not None:
            set_random_state(np.random.default_rng(worker.seed), random.Random(worker.seed))
            self._worker_seed = worker.seed

    def _report(self, problem: str) -> None:
        """Remembers an unreadable file and warns of it, once."""
        if problem not in self.unreadable:
            self.unreadable.add(problem)
            warnings.warn(f"another sample is drawn instead: {problem}", stacklevel=3)


class TestDataset(ISDataset):
    """A folder of images and a folder of masks, paired by file name up to the first dot, sorted by image name.

    Args:
        images: folder of images in any format that OpenCV reads.
        masks: folder of masks; a pixel is the object if any channel of it is above 0.

    Raises:
        ValueError: a folder is left out or is none.
    """

    __test__ = False  # tells pytest that, in spite of its name, this is not a test

    def __init__(
        self, images: str | os.PathLike[str] | None = None, masks: str | os.PathLike[str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._images = _existing_folder(images, "images")
        masks = _existing_folder(masks, "masks")
        self.dataset_samples = sorted(path.name for path in self._images.glob("*.*") if not is_system_file(path.name))
        self._masks = {path.stem: path for path in sorted(masks.glob("*.*"))}
        self._masks_folder = masks

    def get_sample(self, index: int) -> DSample:
        """The image with its mask as object 1; its file name is `imname`."""
        name = self.dataset_samples[index]
        stem = name.split(".")[0]
        if stem not in self._masks:
            raise SampleError(f"{self._images / name} has no mask: put {stem}.png into {self._masks_folder}")
        image = read_rgb(self._images / name)
        mask = read_rgb(self._masks[stem]).max(axis=2) > 0
        check_sizes(self._images / name, image, self._masks[stem], mask)
        return DSample(image, mask.astype(np.int32), objects_ids=[1], sample_id=index, imname=name)


class CocoLvisDataset(ISDataset):
    """COCO photos with the joined masks of COCO, COCO panoptic and LVIS, in the course's folder format.

    `dataset_samples` is a list of (image id, annotation), sorted by id; it may be filtered in place.

    Args:
        dataset_path: the folder that holds the splits.
        split: folder with images/, masks/ and the annotation file.
        stuff_prob: probability that a sample's stuff regions (sky, grass) are objects too; else they are background.
        allow_list_name: JSON file in the split's folder with the list of ids to keep.
        anno_file: pickle {id: {"num_instance_masks": n, "hierarchy": {i: None or node}}} in the split's folder.

    Raises:
        FileNotFoundError: the split, its annotations or the allow list are missing.
        SampleError: the annotations are damaged or want more than plain data.
    """

    def __init__(
        self,
        dataset_path: str | os.PathLike[str],
        split: str = "train",
        stuff_prob: float = 0.0,
        allow_list_name: str | None = None,
        anno_file: str = "hannotation.pickle",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._split_path = Path(dataset_path) / split
        self.stuff_prob = stuff_prob
        for name in filter(None, (anno_file, allow_list_name)):
            if not (self._split_path / name).is_file():
                raise FileNotFoundError(f"{self._split_path / name} is missing; is {dataset_path} a COCO_LVIS folder?")
        annotations = read_annotations(self._split_path / anno_file)
        if allow_list_name is not None:
            allowed = {full_id(i) for i in read_json(self._split_path / allow_list_name)}
            annotations = {i: info for i, info in annotations.items() if full_id(i) in allowed}
        self.dataset_samples = sorted(annotations.items(), key=lambda item: full_id(item[0]))

    def get_sample(self, index: int) -> DSample:
        """The photo with its objects: instances in their hierarchy and, with probability stuff_prob, stuff regions."""
        image_id, annotation = self.dataset_samples[index]
        image, layers, mapping = read_sample(self._split_path, image_id)
        try:
            objects = self._objects(annotation, layers, mapping)
            # layers lie one after another in memory, so that each is read in one go, but are seen as (H, W, L)
            return DSample(image, layers.transpose(1, 2, 0), objects, sample_id=index, imname=f"{image_id}.jpg")
        except (KeyError, IndexError, TypeError, ValueError) as error:
            masks = self._split_path / "masks" / f"{image_id}.pickle"
            raise SampleError(f"{masks} does not fit the annotation of {image_id} ({error!r})") from error

    def _objects(
        self, annotation: Mapping[str, Any], layers: np.ndarray, mapping: Sequence[tuple[int, int]]
    ) -> dict[int, dict[str, Any]]:
        """The tree of instances and, with probability stuff_prob, stuff; else the stuff is erased from the layers."""
        # None in the hierarchy is an object without relations
        objects = {i: {**(node or {}), "mapping": mapping[i]} for i, node in annotation["hierarchy"].items()}
        stuff = {i: mapping[i] for i in range(annotation["num_instance_masks"], len(mapping))}
        if random.random() < self.stuff_prob:
            objects.update((i, {"mapping": region}) for i, region in stuff.items())
        else:
            _erase(layers, stuff.values())
        return objects


def _erase(layers: np.ndarray, regions: Iterable[tuple[int, int]]) -> None:
    """Sets the pixels of (layer, label) regions to 0, each layer once."""
    labels: dict[int, list[int]] = {}
    for layer, label in regions:
        labels.setdefault(layer, []).append(label)
    for layer, gone in labels.items():
        table = np.arange(256, dtype=np.uint8)
        table[gone] = 0
        cv2.LUT(layers[layer], table, dst=layers[layer])


def _existing_folder(folder: str | os.PathLike[str] | None, what: str) -> Path:
    if folder is None or not Path(folder).is_dir():
        raise ValueError(f"TestDataset needs a folder of {what}, got {folder}")
    return Path(folder)

