"""Where the first training clicks fall: the rules and parameter names are those of RITM (Sofiiuk et al., 2021)."""
from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import cv2
import numpy as np

from utils.sample import DSample

Point = tuple[int, int, int]  # y, x, index

NO_POINT: Point = (-1, -1, -1)
SAMPLED_INDEX = 100  # index of a point that was drawn at random
CENTRED_INDEX = 0  # index of a first click that was put near the centre

STAY_PROB = 0.5  # at each level of the hierarchy: ask for this object, rather than for one of its parts
SMALL_PART = 0.1  # a part of less than this share of its object's area gets none of the object's positive clicks
MAX_LEFT_OUT = 3  # parts that may be left out of an object at once
MIN_REST = 0.1  # share of an object's area that is there when its parts are left out
MIN_ERODED_AREA = 10  # pixels that are left inside for erosion to count


class MultiPointSampler:
    """Chooses an object of a sample and the positive and negative points of the first training round.

    Args:
        max_num_points: points of each kind at most; N of the (2N, 3) points.
        prob_gamma: each further point is less probable than the one before by this factor.
        expand_ratio: width of the band around the object for border negatives, in square roots of its area.
        positive_erode_prob: probability that points keep away from the edge of their region ...
        positive_erode_iters: ... by this many pixels.
        negative_bg_prob: share of negative points that fall anywhere outside the object, ...
        negative_other_prob: ... on other objects, ...
        negative_border_prob: ... and close to the object's outline. The three sum to 1.
        merge_objects_prob: probability that several unrelated objects are asked for as one, ...
        max_num_merged_objects: ... which are this many at most.
        use_hierarchy: also asks for parts of objects, and for objects with some of their parts left out.
        soft_targets: `selected_mask` holds the objects' soft masks (DSample.get_soft_object_mask).
        first_click_center: the first positive point lies near the centre and has index 0.
        only_one_first_click: merged objects get one first click in all instead of one each.
        sfc_inner_k: a centred click is at least the largest distance to the edge, divided by this, inside; 1 or more.
        sfc_full_inner_prob: probability that a "centred" first click falls anywhere on the object all the same.

    Raises:
        ValueError: a parameter is out of its range.
    """

    def __init__(
        self,
        max_num_points: int,
        prob_gamma: float = 0.7,
        expand_ratio: float = 0.1,
        positive_erode_prob: float = 0.9,
        positive_erode_iters: int = 3,
        negative_bg_prob: float = 0.1,
        negative_other_prob: float = 0.4,
        negative_border_prob: float = 0.5,
        merge_objects_prob: float = 0.0,
        max_num_merged_objects: int = 2,
        use_hierarchy: bool = False,
        soft_targets: bool = False,
        first_click_center: bool = False,
        only_one_first_click: bool = False,
        sfc_inner_k: float = 1.7,
        sfc_full_inner_prob: float = 0.0,
    ) -> None:
        if max_num_points < 1 or prob_gamma <= 0 or sfc_inner_k < 1:
            raise ValueError("max_num_points must be at least 1, prob_gamma above 0 and sfc_inner_k at least 1")
        if abs(negative_bg_prob + negative_other_prob + negative_border_prob - 1) > 1e-6:
            raise ValueError("negative_bg_prob, negative_other_prob and negative_border_prob must sum to 1")
        if merge_objects_prob > 0 and max_num_merged_objects < 2:
            raise ValueError(f"max_num_merged_objects is {max_num_merged_objects}; merging needs at least 2")
        self.max_num_points = max_num_points
        self.prob_gamma = prob_gamma
        self.expand_ratio = expand_ratio
        self.positive_erode_prob = positive_erode_prob
        self.positive_erode_iters = positive_erode_iters
        self.negative_shares = {"bg": negative_bg_prob, "other": negative_other_prob, "border": negative_border_prob}
        self.merge_objects_prob = merge_objects_prob
        self.max_num_merged_objects = max_num_merged_objects
        self.use_hierarchy = use_hierarchy
        self.soft_targets = soft_targets
        self.first_click_center = first_click_center
        self.only_one_first_click = only_one_first_click
        self.sfc_inner_k = sfc_inner_k
        self.sfc_full_inner_prob = sfc_full_inner_prob
        self._selected_mask: np.ndarray | None = None
        self._positive: list[_Region] = []
        self._required_negative: list[_Region] = []
        self._other_negative: dict[str, _Region] = {}

    @property
    def selected_mask(self) -> np.ndarray:
        """Mask float32 (1, H, W) of the chosen object: 0 to 1, or -1 where annotation says to ignore.

        Raises:
            RuntimeError: no object has been chosen.
        """
        if self._selected_mask is None:
            raise RuntimeError("call sample_object before selected_mask")
        return self._selected_mask

    def sample_object(self, sample: DSample) -> None:
        """Chooses an object, or several as one; a sample without objects gives an all-zero mask."""
        roots = self._choose_roots(sample.root_objects)
        target = np.zeros(sample.image.shape[:2], dtype=np.float32)
        positive, required_negative = [], []
        for root in roots:
            mask, inside, outside = self._choose_parts(sample, root)
            target = _union(target, mask)
            positive.append(self._keep_off_edge(inside))
            required_negative += [self._keep_off_edge(region) for region in outside]

        outside_target = (target >= 0) & (target <= 0.5)
        self._selected_mask = target[None]
        self._positive = _regions(positive)
        self._required_negative = _regions(region & outside_target for region in required_negative)
        self._other_negative = self._negative_regions(sample, target > 0.5, outside_target, len(roots))

    def sample_points(self) -> list[Point]:
        """Points of the chosen object: max_num_points positive ones, as many negative ones, (y, x, index) each.

        Index is 100, or 0 for a centred first click; (-1, -1, -1) is no point. Positive points lie on the object,
        negative ones outside.

        Raises:
            RuntimeError: no object has been chosen.
        """
        if self._selected_mask is None:
            raise RuntimeError("call sample_object before sample_points")
        return self._positive_points() + self._negative_points()

    def _positive_points(self) -> list[Point]:
        first = self._positive[:1] if self.only_one_first_click else self._positive
        points = [self._first_click(region) for region in first[: self.max_num_points]]
        if points:
            points += self._further_points([(region, 1) for region in self._positive], len(points))
        return points + [NO_POINT] * (self.max_num_points - len(points))

    def _negative_points(self) -> list[Point]:
        required = self._required_negative[: self.max_num_points]
        points = [(*region.draw(), SAMPLED_INDEX) for region in required]
        shares = [(self._other_negative[where], share) for where, share in self.negative_shares.items()]
        points += self._further_points([(region, 1) for region in required] + shares, len(points))
        return points + [NO_POINT] * (self.max_num_points - len(points))

    def _first_click(self, region: _Region) -> Point:
        if not self.first_click_center:
            return (*region.draw(), SAMPLED_INDEX)
        anywhere = random.random() < self.sfc_full_inner_prob
        return (*(region if anywhere else region.centre(self.sfc_inner_k)).draw(), CENTRED_INDEX)

    def _further_points(self, shares: Sequence[tuple[_Region, float]], taken: int) -> list[Point]:
        """A random number of points, each in a region drawn by its share; a draw of an empty region gives no point."""
        counts = range(self.max_num_points - taken + 1)
        count = random.choices(counts, weights=[self.prob_gamma**k for k in counts])[0]
        regions = random.choices([region for region, _ in shares], weights=[share for _, share in shares], k=count)
        return [(*region.draw(), SAMPLED_INDEX) for region in regions if len(region)]

    def _choose_roots(self, roots: list[int]) -> list[int]:
        if len(roots) > 1 and random.random() < self.merge_objects_prob:
            return random.sample(roots, random.randint(2, min(len(roots), self.max_num_merged_objects)))
        return [random.choice(roots)] if roots else []

    def _choose_parts(self, sample: DSample, root: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """What of a root object to ask for: its target mask, where positive clicks fall, where negative ones must."""
        tree = sample._objects
        if not self.use_hierarchy:
            target = self._target(sample, root)
            return target, target > 0.5, []
        node = root
        while tree[node]["children"] and random.random() >= STAY_PROB:
            node = random.choice(tree[node]["children"])

        target = self._target(sample, node)
        whole = sample.get_object_mask(node) == 1
        outside = []
        parent = tree[node]["parent"]
        if parent is not None:
            outside.append((sample.get_object_mask(parent) == 1) & ~whole)
        children = {i: sample.get_object_mask(i) == 1 for i in tree[node]["children"]}
        for child in _choose_left_out(whole, children):
            outside.append(children[child])
            target = _without(target, self._target(sample, child))
        return target, _without_small(whole & (target > 0.5), whole, children), outside

    def _target(self, sample: DSample, obj_id: int) -> np.ndarray:
        """Mask float32 (H, W), soft if asked for, -1 where annotation says to ignore."""
        mask = sample.get_object_mask(obj_id).astype(np.float32)
        return np.where(mask < 0, mask, sample.get_soft_object_mask(obj_id)) if self.soft_targets else mask

    def _keep_off_edge(self, region: np.ndarray) -> np.ndarray:
        """The region eroded, most of the time and where enough of it remains."""
        if random.random() >= self.positive_erode_prob:
            return region
        kernel = np.ones((3, 3), np.uint8)
        eroded = cv2.erode(region.astype(np.uint8), kernel, iterations=self.positive_erode_iters) > 0
        return eroded if eroded.sum() > MIN_ERODED_AREA else region

    def _negative_regions(
        self, sample: DSample, target: np.ndarray, outside: np.ndarray, num_merged: int
    ) -> dict[str, _Region]:
        """Where negative points may fall: anywhere outside, on other objects, in a band along the outline."""
        width = int(np.ceil(self.expand_ratio * np.sqrt(target.sum())))
        near = cv2.dilate(target.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=width) > 0
        others = outside & ~sample.get_background_mask() if len(sample) > num_merged else outside
        border = outside & near if target.any() else outside
        return {"bg": _Region(outside), "other": _Region(others), "border": _Region(border)}


class _Region:
    """A set of pixels, boolean (H, W), to draw from; its list of pixels is made when first needed."""

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask

    def __len__(self) -> int:
        return len(self._pixels)

    @cached_property
    def _pixels(self) -> np.ndarray:
        return np.flatnonzero(self.mask)

    def draw(self) -> tuple[int, int]:
        """A random pixel (y, x)."""
        y, x = divmod(int(random.choice(self._pixels)), self.mask.shape[1])
        return y, x

    def centre(self, inner_k: float) -> _Region:
        """The pixels at least as far inside as the innermost one, divided by inner_k; the image's edge is an edge."""
        padded = np.pad(self.mask.astype(np.uint8), 1)
        distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        return _Region((distance >= distance.max() / inner_k) & self.mask)


def _regions(masks: Iterable[np.ndarray]) -> list[_Region]:
    return [_Region(mask) for mask in masks if mask.any()]


def _choose_left_out(whole: np.ndarray, children: Mapping[int, np.ndarray]) -> list[int]:
    """Parts to leave out, none to MAX_LEFT_OUT of them, as long as MIN_REST of the object is there without them."""
    count = random.randint(0, min(len(children), MAX_LEFT_OUT))
    rest, chosen = whole, []
    for child in random.sample(list(children), count):
        smaller = rest & ~children[child]
        if smaller.sum() >= max(1, MIN_REST * whole.sum()):
            rest = smaller
            chosen.append(child)
    return chosen


def _without_small(inside: np.ndarray, whole: np.ndarray, children: Mapping[int, np.ndarray]) -> np.ndarray:
    """The region without small parts, on which a click would rather mean the part; unless nothing remains."""
    small = [part for part in children.values() if part.sum() < SMALL_PART * whole.sum()]
    rest = inside & ~np.any(small, axis=0) if small else inside
    return rest if rest.any() else inside


def _union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of two masks in [0, 1], or -1 where ignored."""
    return np.where((first < 0) | (second < 0), np.float32(-1), np.maximum(first, second))


def _without(mask: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Of a mask in [0, 1], or -1 where ignored: what lies outside the part."""
    return np.where(mask < 0, mask, np.minimum(mask, 1 - np.maximum(part, 0)))
