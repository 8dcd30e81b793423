"""One annotated image: its masks, its tree, and what augmentation does to them."""
import copy

import albumentations as A
import cv2
import numpy as np
import pytest

from utils.sample import DSample

TREE = {
    0: {"mapping": (0, 1), "parent": None, "children": [1], "node_level": 0},
    1: {"mapping": (1, 1), "parent": 0, "children": [2, 3], "node_level": 1},
    2: {"mapping": (2, 1), "parent": 1, "children": [], "node_level": 2},
    3: {"mapping": (2, 2), "parent": 1, "children": [], "node_level": 2},
    4: {"mapping": (0, 2)},
}


def make_sample(**kwargs) -> DSample:
    """Object 0 with part 1, which has parts 2 and 3; object 4 alone."""
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    masks = np.zeros((40, 60, 3), np.uint8)
    masks[5:35, 5:35, 0] = 1
    masks[5:35, 40:55, 0] = 2
    masks[10:30, 10:30, 1] = 1
    masks[12:20, 12:20, 2] = 1
    masks[22:24, 22:24, 2] = 2
    return DSample(image, masks, **{"objects": TREE, "sample_id": 7, "imname": "a.jpg", **kwargs})


def relations(sample: DSample) -> dict:
    return {i: (node["parent"], sorted(node["children"])) for i, node in sample._objects.items()}


def test_objects_and_their_masks():
    sample = make_sample()
    assert (len(sample), sample.objects_ids, sample.root_objects) == (5, [0, 1, 2, 3, 4], [0, 4])
    assert (sample.sample_id, sample.imname) == (7, "a.jpg")
    mask = sample.get_object_mask(1)
    assert mask.dtype == np.int32 and mask.sum() == 400 and mask[10:30, 10:30].all()
    np.testing.assert_array_equal(sample.get_soft_object_mask(1), mask)
    assert sample.get_soft_object_mask(1).dtype == np.float32
    assert sample.get_background_mask().sum() == 40 * 60 - 30 * 30 - 30 * 15


def test_a_flat_mask_with_labels():
    mask = np.zeros((4, 5), np.int32)
    mask[1, 1:3], mask[2, 2], mask[3, 3] = 1, -1, 4
    sample = DSample(np.zeros((4, 5, 3), np.uint8), mask, objects_ids=[1], ignore_ids=[-1])
    assert sample.root_objects == [1]
    assert sample.gt_mask.sum() == 2 - 1 and sample.gt_mask[2, 2] == -1 and sample.gt_mask[3, 3] == 0
    sample.remove_small_objects(2)
    assert len(sample) == 1
    sample.remove_small_objects(3)
    assert len(sample) == 0


def test_a_pair_names_an_ignored_region_of_any_layer():
    sample = make_sample(ignore_ids=[(2, 1)])
    assert (sample.get_object_mask(1) == -1).sum() == 64
    assert (sample.get_object_mask(1) == 1).sum() == 400 - 64


def test_gt_mask_is_for_one_object():
    with pytest.raises(ValueError, match="has 5"):
        _ = make_sample().gt_mask


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"objects": None}, "either objects or objects_ids"),
        ({"objects": {0: {"mapping": (3, 1)}}}, "layer 3 of 3"),
        ({"objects": {0: {"mapping": (0, 1), "children": [8]}}}, "does not have"),
    ],
)
def test_bad_trees_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_sample(**changes)


def test_image_and_masks_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 5\).*\(5, 4\)"):
        DSample(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8), objects_ids=[1])


def test_parts_of_a_removed_object_pass_to_its_parent():
    sample = make_sample()
    sample._objects[1]["mapping"] = (1, 9)  # a label without pixels
    sample.remove_small_objects(1)
    assert relations(sample) == {0: (None, [2, 3]), 2: (0, []), 3: (0, []), 4: (None, [])}
    sample._objects[0]["mapping"] = (0, 9)
    sample.remove_small_objects(1)
    assert relations(sample) == {2: (None, []), 3: (None, []), 4: (None, [])}


def test_objects_of_min_area_stay_and_the_given_tree_is_left_alone():
    before = copy.deepcopy(TREE)
    sample = make_sample()
    sample.remove_small_objects(64)
    assert sample.objects_ids == [0, 1, 2, 4]
    sample.remove_small_objects(65)
    assert sample.objects_ids == [0, 1, 4]
    assert before == TREE


def test_augment_starts_from_the_original_each_time_and_can_be_undone():
    sample = make_sample()
    image, masks, before = sample.image.copy(), sample._encoded_masks.copy(), relations(sample)

    def crop(image: np.ndarray, mask: np.ndarray) -> dict:
        return {"image": image[:, 36:], "mask": mask[:, 36:]}

    for _ in range(2):
        sample.augment(crop)
        assert sample.image.shape == (40, 24, 3)
        assert sample.objects_ids == [4]
        assert sample.get_object_mask(4).sum() == 30 * 15
    sample.reset_augmentation()
    assert relations(sample) == before
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample._encoded_masks, masks)


def test_an_augmentator_may_return_a_flat_mask_for_a_flat_mask():
    sample = DSample(np.zeros((4, 5, 3), np.uint8), np.eye(4, 5, dtype=np.uint8), objects_ids=[1])
    sample.augment(lambda image, mask: {"image": image, "mask": mask[:, :, 0]})
    assert sample.gt_mask.sum() == 4


GEOMETRY = [
    A.Affine(scale=(0.8, 1.3), rotate=(-30, 30), shear=(-5, 5), p=1),
    A.HorizontalFlip(p=0.5),
    A.RandomScale(scale_limit=(-0.25, 0.4), p=1),
    A.PadIfNeeded(min_height=64, min_width=64),
    A.RandomCrop(48, 56),
]
COLOUR = [A.RandomBrightnessContrast(p=0.75), A.RGBShift(p=0.75), A.ImageCompression(p=0.5), A.GaussNoise(p=0.5)]


def assert_alike(first: np.ndarray, second: np.ndarray) -> None:
    """Masks resampled twice may differ by two pixels at the outline, nowhere else.

    OpenCV's nearest interpolation shifts by up to half a pixel of the smaller image where it resizes.
    """
    second = second.astype(np.uint8)
    kernel = np.ones((5, 5), np.uint8)
    assert (first <= cv2.dilate(second, kernel)).all()
    assert (first >= cv2.erode(second, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)).all()


@pytest.mark.parametrize("layers", [1, 3, 6])
def test_albumentations_moves_image_and_labels_together(layers):
    """The image shows the labels, so that after any draw they must still agree, and no label is invented."""
    label = np.zeros((40, 60), np.uint8)
    label[8:30, 12:44] = 200
    sample = DSample(np.dstack([label] * 3), np.dstack([label] * layers), objects_ids=[200])
    compose = A.Compose(GEOMETRY, seed=3)
    for _ in range(20):
        sample.augment(compose)
        assert sample.image.shape == (48, 56, 3) and sample._encoded_masks.shape == (48, 56, layers)
        assert set(np.unique(sample._encoded_masks)) <= {0, 200}
        assert_alike(sample.image[:, :, 0] > 100, sample.get_object_mask(200))


def test_any_compose_with_colours_gives_uint8_images():
    sample = make_sample()
    compose = A.Compose([*GEOMETRY, *COLOUR], seed=0)
    for _ in range(5):
        sample.augment(compose)
        assert sample.image.dtype == np.uint8 and sample.image.shape == (48, 56, 3)


@pytest.mark.filterwarnings("error")
def test_soft_masks_of_a_replayed_draw_follow_the_hard_ones():
    sample = make_sample()
    compose = A.ReplayCompose([*GEOMETRY, A.OneOf([A.VerticalFlip(p=1), A.Transpose(p=1)], p=0.5), *COLOUR], p=0.9)
    compose.set_random_seed(1)
    between = 0
    for _ in range(15):
        sample.augment(compose)
        for obj_id in sample.objects_ids:
            soft, hard = sample.get_soft_object_mask(obj_id), sample.get_object_mask(obj_id)
            assert soft.dtype == np.float32 and soft.shape == hard.shape and 0 <= soft.min() <= soft.max() <= 1
            between += ((soft > 0) & (soft < 1)).sum()
            assert_alike(soft > 0.5, hard)
    assert between > 100
    sample.reset_augmentation()
    assert set(np.unique(sample.get_soft_object_mask(0))) == {0, 1}
