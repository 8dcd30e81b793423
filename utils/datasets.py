"""The folders: images with masks beside them for testing, COCO_LVIS for training."""
from __future__ import annotations

import json
import os
import pickle
import random
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from utils.points_sampler import MultiPointSampler
from utils.safe_pickle import load_pickle
from utils.sample import DSample

MAX_DRAWS = 100  # draws in a row without a usable sample after which the dataset is called broken


class SampleError(Exception):
    """An image or its annotation can't be read; the message names the file and the reason."""


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
        if worker is not None and worker.seed != self._worker_seed and hasattr(self.augmentator, "set_random_state"):
            self.augmentator.set_random_state(np.random.default_rng(worker.seed), random.Random(worker.seed))
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
        self.dataset_samples = sorted(path.name for path in self._images.glob("*.*"))
        self._masks = {path.stem: path for path in sorted(masks.glob("*.*"))}
        self._masks_folder = masks

    def get_sample(self, index: int) -> DSample:
        """The image with its mask as object 1; its file name is `imname`."""
        name = self.dataset_samples[index]
        stem = name.split(".")[0]
        if stem not in self._masks:
            raise SampleError(f"{self._images / name} has no mask: put {stem}.png into {self._masks_folder}")
        image = _read_image(self._images / name)
        mask = _read_image(self._masks[stem]).max(axis=2) > 0
        if image.shape[:2] != mask.shape:
            raise SampleError(_sizes_differ(self._images / name, image, self._masks[stem], mask))
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
        pickle.UnpicklingError: the annotations are damaged or want more than plain data.
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
        annotations = load_pickle(self._split_path / anno_file)
        if allow_list_name is not None:
            allowed = {_full_id(i) for i in json.loads((self._split_path / allow_list_name).read_text())}
            annotations = {i: info for i, info in annotations.items() if _full_id(i) in allowed}
        self.dataset_samples = sorted(annotations.items(), key=lambda item: _full_id(item[0]))

    def get_sample(self, index: int) -> DSample:
        """The photo with its objects: instances in their hierarchy and, with probability stuff_prob, stuff regions."""
        image_id, annotation = self.dataset_samples[index]
        image_path = self._split_path / "images" / f"{image_id}.jpg"
        masks_path = self._split_path / "masks" / f"{image_id}.pickle"
        layers, mapping = _read_layers(masks_path)
        # the masks were drawn on the photo as it is stored, whatever way up its EXIF data want it shown
        image = _read_image(image_path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image.shape[:2] != layers.shape[1:]:
            raise SampleError(_sizes_differ(image_path, image, masks_path, layers[0]))
        try:
            objects = self._objects(annotation, layers, mapping)
            # layers lie one after another in memory, so that each is read in one go, but are seen as (H, W, L)
            return DSample(image, layers.transpose(1, 2, 0), objects, sample_id=index, imname=image_path.name)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise SampleError(f"{masks_path} does not fit the annotation of {image_id} ({error!r})") from error

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


def _full_id(image_id: int | str) -> str:
    """COCO's image id with all its 12 digits."""
    return str(image_id).zfill(12)


def _erase(layers: np.ndarray, regions: Iterable[tuple[int, int]]) -> None:
    """Sets the pixels of (layer, label) regions to 0, each layer once."""
    labels: dict[int, list[int]] = {}
    for layer, label in regions:
        labels.setdefault(layer, []).append(label)
    for layer, gone in labels.items():
        table = np.arange(256, dtype=np.uint8)
        table[gone] = 0
        cv2.LUT(layers[layer], table, dst=layers[layer])


def _read_layers(path: Path) -> tuple[np.ndarray, Sequence[tuple[int, int]]]:
    """Label layers uint8 (L, H, W) and the (layer, label) of each object."""
    try:
        encoded, mapping = load_pickle(path)
        layers = np.stack([cv2.imdecode(layer, cv2.IMREAD_UNCHANGED) for layer in encoded])
    except OSError as error:
        raise SampleError(f"{path} can't be read ({error.strerror})") from error
    except pickle.UnpicklingError as error:
        raise SampleError(str(error)) from error
    except (TypeError, ValueError, cv2.error) as error:
        raise SampleError(f"{path} does not hold label layers and a mapping ({error})") from error
    if layers.dtype != np.uint8 or layers.ndim != 3:
        raise SampleError(f"{path} holds a layer that is no 8-bit label map; fetch it again")
    return layers, mapping


def _read_image(path: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """RGB uint8 (H, W, 3) of an image file; unlike cv2.imread, it never takes the torn half of a JPEG for an image."""
    try:
        encoded = np.fromfile(path, dtype=np.uint8)
        image = cv2.imdecode(encoded, flags) if encoded.size else None
    except OSError as error:
        raise SampleError(f"{path} can't be read ({error.strerror})") from error
    except cv2.error as error:  # larger than OpenCV allows, for example
        raise SampleError(f"{path} can't be decoded ({error})") from error
    if image is None:
        raise SampleError(f"{path} is truncated or no image that OpenCV reads; fetch it again or remove it")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _existing_folder(folder: str | os.PathLike[str] | None, what: str) -> Path:
    if folder is None or not Path(folder).is_dir():
        raise ValueError(f"TestDataset needs a folder of {what}, got {folder}")
    return Path(folder)


def _sizes_differ(image_path: Path, image: np.ndarray, mask_path: Path, mask: np.ndarray) -> str:
    image_size, mask_size = (f"{array.shape[1]}x{array.shape[0]}" for array in (image, mask))
    return f"{image_path} is {image_size} pixels, but its mask {mask_path} is {mask_size}; they must be equal"
