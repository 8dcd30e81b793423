"""One annotated image: the photo, its label layers and the tree of objects they encode."""
from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

IGNORE_LABEL = -1


class DSample:
    """An image with objects encoded in label layers.

    Objects overlap (a button on a shirt on a person), so they live in several layers: object `i` is the set of pixels
    where layer `mapping[0]` equals `mapping[1]`. Label 0 of a layer is "nothing here".

    Args:
        image: uint8 (H, W, 3) RGB.
        encoded_masks: integer (H, W) or (H, W, L) label layers.
        objects: tree {id: {"mapping": (layer, label), "parent": id or None, "children": [ids], "node_level": depth}};
            "parent", "children" and "node_level" may be left out of unrelated objects.
        objects_ids: instead of a tree, the labels of layer 0 that are unrelated objects.
        ignore_ids: labels of layer 0, or (layer, label) pairs, whose pixels are -1 in every object's mask.
        sample_id: position in the dataset.
        imname: file name of the image.

    Raises:
        ValueError: neither objects nor objects_ids, sizes that differ, or an object outside the layers and the tree.
    """

    def __init__(
        self,
        image: np.ndarray,
        encoded_masks: np.ndarray,
        objects: Mapping[int, Mapping[str, Any]] | None = None,
        objects_ids: Iterable[int] | None = None,
        ignore_ids: Iterable[int | tuple[int, int]] | None = None,
        sample_id: int | None = None,
        imname: str | None = None,
    ) -> None:
        if encoded_masks.ndim == 2:
            encoded_masks = encoded_masks[:, :, None]
        if image.shape[:2] != encoded_masks.shape[:2]:
            raise ValueError(f"the image is {image.shape[:2]} pixels and its masks {encoded_masks.shape[:2]}")
        if objects is None:
            if objects_ids is None:
                raise ValueError("DSample needs either objects or objects_ids")
            objects = {i: {"mapping": (0, i)} for i in objects_ids}

        self.image = image
        self.sample_id = sample_id
        self.imname = imname
        self._encoded_masks = encoded_masks
        self._objects = {i: _tree_node(info) for i, info in objects.items()}
        self._ignored_regions = [x if isinstance(x, tuple) else (0, x) for x in ignore_ids or ()]
        self._original: tuple[np.ndarray, np.ndarray, dict[int, dict[str, Any]]] | None = None
        self._soft_augment: Callable[[np.ndarray], np.ndarray] | None = None
        self._check_tree()

    def __len__(self) -> int:
        """Number of objects."""
        return len(self._objects)

    @property
    def objects_ids(self) -> list[int]:
        """Ids of all objects, parts included."""
        return list(self._objects)

    @property
    def root_objects(self) -> list[int]:
        """Ids of the objects that are not parts of others."""
        return [i for i, info in self._objects.items() if info["parent"] is None]

    @property
    def gt_mask(self) -> np.ndarray:
        """Mask (H, W) int32 of the only object.

        Raises:
            ValueError: the sample has no object or several.
        """
        if len(self) != 1:
            raise ValueError(f"gt_mask is for samples with one object, this one has {len(self)}")
        return self.get_object_mask(self.objects_ids[0])

    def get_object_mask(self, obj_id: int) -> np.ndarray:
        """Mask (H, W) int32 of an object: 1 on it, -1 where annotation says to ignore, else 0."""
        mask = self._region(self._objects[obj_id]["mapping"]).astype(np.int32)
        for region in self._ignored_regions:
            mask[self._region(region)] = IGNORE_LABEL
        return mask

    def get_soft_object_mask(self, obj_id: int) -> np.ndarray:
        """Mask (H, W) float32 in [0, 1] of an object, its edge interpolated where the augmentation resampled it.

        Interpolation needs an augmentator that can be replayed (albumentations' ReplayCompose); after any other,
        and without augmentation, the values are 0 and 1.
        """
        if self._soft_augment is None or self._original is None:
            return self._region(self._objects[obj_id]["mapping"]).astype(np.float32)
        _, masks, objects = self._original
        layer, label = objects[obj_id]["mapping"]
        return np.clip(self._soft_augment((masks[:, :, layer] == label).astype(np.float32)), 0, 1)

    def get_background_mask(self) -> np.ndarray:
        """Boolean (H, W): pixels that no layer labels."""
        return np.logical_not(self._encoded_masks.any(axis=2))

    def augment(self, augmentator: Callable[..., dict[str, Any]]) -> None:
        """Replaces image, masks and objects by an augmented draw of the original ones; lost objects are removed.

        Args:
            augmentator: called as `augmentator(image=, mask=)`, returns a dict with the new "image" (H', W', 3) and
                "mask" (H', W', L); it must move labels by nearest interpolation, as albumentations does by default.
        """
        self.reset_augmentation()
        self._original = self.image, self._encoded_masks, self._objects
        moved = augmentator(image=self.image, mask=np.ascontiguousarray(self._encoded_masks))
        masks = moved["mask"]
        self.image = moved["image"]
        self._encoded_masks = masks if masks.ndim == 3 else masks[:, :, None]
        self._objects = {i: _tree_node(info) for i, info in self._objects.items()}
        if "replay" in moved:
            self._soft_augment = _replay_on_soft_masks(moved["replay"])
        self.remove_small_objects(min_area=1)

    def reset_augmentation(self) -> None:
        """Brings back the image, masks and objects from before `augment`."""
        if self._original is not None:
            self.image, self._encoded_masks, self._objects = self._original
            self._original = self._soft_augment = None

    def remove_small_objects(self, min_area: int) -> None:
        """Removes objects of fewer than `min_area` pixels; the parts of a removed object pass to its parent."""
        for obj_id, area in self._areas().items():
            if area < min_area:
                self._remove_object(obj_id)

    def _areas(self) -> dict[int, int]:
        """Pixels of each object; each layer is counted once for all its objects."""
        if self._ignored_regions:
            return {i: int((self.get_object_mask(i) > 0).sum()) for i in self._objects}
        layers = {info["mapping"][0] for info in self._objects.values()}
        counts = {layer: np.bincount(self._encoded_masks[:, :, layer].ravel()) for layer in layers}
        labels = {i: info["mapping"] for i, info in self._objects.items()}
        return {i: int(counts[k][v]) if v < len(counts[k]) else 0 for i, (k, v) in labels.items()}

    def _remove_object(self, obj_id: int) -> None:
        node = self._objects.pop(obj_id)
        for child in node["children"]:
            self._objects[child]["parent"] = node["parent"]
        if node["parent"] is not None:
            siblings = self._objects[node["parent"]]["children"]
            siblings.remove(obj_id)
            siblings.extend(node["children"])

    def _region(self, mapping: tuple[int, int]) -> np.ndarray:
        layer, label = mapping
        return self._encoded_masks[:, :, layer] == label

    def _check_tree(self) -> None:
        num_layers = self._encoded_masks.shape[2]
        for obj_id, node in self._objects.items():
            if not 0 <= node["mapping"][0] < num_layers:
                raise ValueError(f"object {obj_id} lies in layer {node['mapping'][0]} of {num_layers}")
            strangers = {*node["children"], node["parent"]} - {None, *self._objects}
            if strangers:
                raise ValueError(f"object {obj_id} is related to {sorted(strangers)}, which the sample does not have")


def _tree_node(info: Mapping[str, Any]) -> dict[str, Any]:
    """A node of its own for this sample, so that removing objects changes nobody else's tree."""
    return {
        **info,
        "mapping": tuple(info["mapping"]),
        "parent": info.get("parent"),
        "children": list(info.get("children", ())),
        "node_level": info.get("node_level", 0),
    }


def _replay_on_soft_masks(replay: dict[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """The same draw of an albumentations ReplayCompose, for float masks, with linear interpolation of the edge."""
    import cv2
    from albumentations import ReplayCompose

    with warnings.catch_warnings():  # it warns of arguments that it wrote into the replay itself
        warnings.simplefilter("ignore")
        transform = ReplayCompose._restore_for_replay(replay)
    transform.set_mask_interpolation(cv2.INTER_LINEAR)
    return lambda mask: transform(image=np.zeros((*mask.shape, 3), np.uint8), mask=mask)["mask"]
