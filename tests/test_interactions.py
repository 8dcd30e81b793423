"""What can be drawn, how a network sees it, and the users who draw it. Users who click: tests/benchmark."""
import json

import cv2
import numpy as np
import pytest

from solution import Frame
from utils.clicker import Click, Clicker
from utils.interactions import (
    KINDS,
    Contour,
    DrawingUser,
    InteractionError,
    Stroke,
    WholePicture,
    as_clicks,
    check_inside,
    draw_contour,
    draw_stroke,
    from_plain,
    next_drawing,
    rasterize,
    to_plain,
)
from utils.scribbles import STROKES, deepest_component, largest_component, longest_path, loose_contour, skeleton

SQUARE = [(10, 10), (10, 30), (30, 30), (30, 10)]
NAN = float("nan")
DRAWN = [Click(True, (7, 9)), Stroke(False, [(2, 2), (2, 20)], 6), Contour(True, SQUARE), Contour.box(40, 40, 50, 60)]


def boomerang(height: int = 120, width: int = 160) -> np.ndarray:
    truth = np.zeros((height, width), np.uint8)
    corners = np.array([(0.1, 0.15), (0.6, 0.3), (0.85, 0.9), (0.35, 0.55)]) * (width, height)
    cv2.fillPoly(truth, [np.rint(corners).astype(np.int32)], 1)
    return truth > 0


# ---------------------------------------------------------------------------------------------- what can be drawn


@pytest.mark.parametrize("draw", [
    lambda: Stroke(True, [(5, 5)]),
    lambda: Stroke(True, [(5, 5), (5, 5)]),
    lambda: Stroke(True, []),
    lambda: Stroke(True, [(1, 2), (3, 4)], 0),
    lambda: Stroke(True, [(1, 2), (3, 4)], -2),
    lambda: Stroke(True, [(1, 2), (3, 4)], NAN),
    lambda: Stroke(True, [(1, 2), (NAN, 4)]),
    lambda: Stroke(True, [(1, 2), (3, 4, 5)]),
    lambda: Stroke(True, [(1, 2), ("a", 4)]),
    lambda: Stroke(True, None),
    lambda: Contour(True, SQUARE[:2]),
    lambda: Contour(True, [(0, 0), (5, 5), (9, 9)]),
    lambda: Contour(True, [SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3]]),
    lambda: Contour(True, SQUARE, trust=0),
    lambda: Contour.box(5, 5, 5, 20),
    lambda: from_plain({"kind": "lasso", "positive": True, "points": SQUARE}),
    lambda: from_plain({"kind": "click", "points": [(1, 2)]}),
    lambda: from_plain({"kind": "click", "positive": "false", "points": [(1, 2)]}),
    lambda: DrawingUser(boomerang(), ["lasso"]),
    lambda: DrawingUser(boomerang(), []),
    lambda: DrawingUser(boomerang(), ["stroke"], style="lasso"),
])  # fmt: skip
def test_what_means_nothing_is_refused(draw):
    with pytest.raises(InteractionError):
        draw()


@pytest.mark.parametrize("one, where", [
    (Click(True, (50, 3)), "outside"),
    (Stroke(True, [(5, 5), (5, 80)]), "outside"),
    (Contour(True, [(-1, 0), (5, 5), (5, 0)]), "outside"),
    (Stroke(True, [(5, 5), (5, 9)], 70), "wide"),
])  # fmt: skip
def test_what_does_not_fit_the_picture_is_refused(one, where):
    with pytest.raises(InteractionError, match=f"interaction 2, .* {where}"):
        check_inside([Click(True, (0, 0)), one], 50, 60)


def test_the_pictures_last_pixels_are_inside():
    stroke = Stroke(True, [(-0.5, 0), (49.4, 59.4)], 60)
    check_inside([Click(True, (49, 59)), stroke, Contour.box(0, 0, 49, 59)], 50, 60)


def test_a_line_that_touches_itself_is_no_crossing():
    spur = [*SQUARE, (20, 20), (30, 10)]  # goes in and out of a corner
    assert Contour(True, spur).points == tuple((float(y), float(x)) for y, x in spur)


def test_plain_containers_carry_everything():
    assert [from_plain(json.loads(json.dumps(to_plain(one)))) for one in DRAWN] == DRAWN


# ---------------------------------------------------------------------------------------------- maps


def test_maps_are_positive_and_negative_by_kind():
    maps = rasterize(DRAWN, WholePicture(60, 80), disk_radius=2)
    assert maps.shape == (6, 60, 80) and maps.dtype == np.float32
    dy, dx = np.indices((60, 80)) - np.array([7, 9])[:, None, None]
    assert np.array_equal(maps[0], dy**2 + dx**2 <= 4)
    assert maps[3].sum(axis=0)[10] == pytest.approx(5, abs=1)  # 6 wide, two of the rows outside
    inside = maps[4] == 1
    assert inside[10:31, 10:31].all() and inside.sum() == 21 * 21
    assert (maps[4, 40:51, 40:61] == 0.5).all()
    assert not maps[[1, 2, 5]].any()


def test_of_contours_that_overlap_the_later_counts():
    maps = rasterize([Contour(True, SQUARE), Contour.box(20, 20, 40, 40, is_positive=False)], WholePicture(50, 50))
    assert maps[4, 15, 15] == 1 and maps[4, 25, 25] == 0 and maps[5, 25, 25] == 0.5


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_frame_moves_drawings_as_it_moves_the_picture(mirrored):
    frame = Frame(4, 8, 40, 60, 80, 120, mirrored)
    picture = rasterize([Stroke(True, [(10, 12), (30, 50)], 5), Contour(False, SQUARE)], WholePicture(60, 80))
    moved = rasterize([Stroke(True, [(10, 12), (30, 50)], 5), Contour(False, SQUARE)], frame)
    for here, there in ((picture[2], moved[2]), (picture[5], moved[5])):
        expected = frame.take(here) > 0.5
        assert np.count_nonzero(expected & (there > 0)) / np.count_nonzero(expected | (there > 0)) > 0.8


def test_strokes_are_seen_at_any_scale_and_never_as_areas():
    line = Stroke(True, [(500, 100), (500, 900)], 20)
    widths = [np.count_nonzero(rasterize([line], Frame(0, 0, 1000, 1000, s, s))[2, :, s // 2]) for s in (32, 500, 2000)]
    assert widths[0] == pytest.approx(3, abs=1) and widths[1] == pytest.approx(10, abs=1)
    assert widths[2] == pytest.approx(15, abs=1)


def test_a_hundred_interactions_are_drawn():
    assert rasterize(DRAWN * 25, WholePicture(60, 80)).max() == 1


def test_for_a_model_of_clicks_a_stroke_becomes_clicks_along_it():
    clicks = as_clicks(Stroke(False, [(10, 10), (10, 50), (30, 50)]), 10)
    assert [click.coords for click in clicks] == [(10, 10), (10, 20), (10, 30), (10, 40), (10, 50), (20, 50), (30, 50)]
    assert not any(click.is_positive for click in clicks)
    assert as_clicks(Stroke(True, [(0, 0), (0, 1)]), 100) == [Click(True, (0, 0)), Click(True, (0, 1))]


def test_for_a_model_of_clicks_a_contour_becomes_its_middle():
    assert as_clicks(Contour(True, SQUARE), 10) == [Click(True, (20, 20))]
    assert as_clicks(DRAWN[0], 10) == DRAWN[:1]


# ---------------------------------------------------------------------------------------------- regions and lines


def test_components_by_area_and_by_depth():
    region = np.zeros((60, 80), bool)
    region[2:5, 2:78] = True  # 228 pixels, thin
    region[20:33, 10:23] = True  # 169 pixels, deep
    assert np.array_equal(np.flatnonzero(largest_component(region).any(1)), [2, 3, 4])
    deepest = deepest_component(region)
    assert deepest[26, 16] and not deepest[:10].any() and deepest.sum() < 169
    assert not largest_component(np.zeros((3, 3), bool)).any()


def test_a_skeleton_is_thin_and_connected():
    region = boomerang()
    lines = skeleton(region)
    assert not (lines & ~region).any() and np.count_nonzero(lines) < 0.05 * np.count_nonzero(region)
    assert cv2.connectedComponents(lines.astype(np.uint8), connectivity=8)[0] == 2
    assert not cv2.erode(lines.astype(np.uint8), np.ones((2, 2), np.uint8)).any()


def test_the_longest_path_leaves_short_branches_out():
    tree = np.zeros((20, 40), bool)
    tree[10, 2:38] = True
    tree[5:10, 20] = True
    path = longest_path(tree)
    assert sorted(path[[0, -1]].tolist()) == [[10, 2], [10, 37]] and 35 <= len(path) <= 37
    assert len(longest_path(np.zeros((5, 5), bool))) == 0


@pytest.mark.parametrize("style", STROKES)
def test_strokes_lie_in_their_region(style):
    region = boomerang()
    for seed in range(20):
        for line in STROKES[style](np.random.default_rng(seed), region):
            assert len(line) >= 2
            y, x = np.rint(line).astype(int).T
            assert region[y, x].mean() > (0.7 if style == "davis" else 0.99)  # a Bezier curve may cut a corner


@pytest.mark.parametrize("style", STROKES)
def test_strokes_follow_their_seed(style):
    region = boomerang()
    first, again, other = (draw_stroke(np.random.default_rng(seed), region, True, style) for seed in (1, 1, 2))
    assert first == again
    assert (first == other) == (style == "davis")


def test_the_deterministic_stroke_runs_along_the_region():
    region = np.zeros((60, 200), bool)
    region[20:40, 10:190] = True
    stroke = draw_stroke(np.random.default_rng(0), region, True)
    y, x = np.array(stroke.points).T
    assert np.ptp(x) > 140 and abs(y - 29.5).max() < 4


def test_a_parallel_outline_stays_off_the_edge():
    region = np.zeros((200, 200), bool)
    cv2.circle(region.view(np.uint8), (100, 100), 80, 1, -1)
    lines = [line for seed in range(20) for line in STROKES["outline"](np.random.default_rng(seed), region)]
    radii = np.concatenate([np.linalg.norm(line - 100, axis=1) for line in lines])
    assert np.median(radii) > 40 and np.median(radii) < 80


@pytest.mark.parametrize("height, width", [(1, 1), (1, 2), (2, 2), (1, 30), (3, 40), (30, 1)])
def test_small_regions_give_valid_drawings_or_none(height, width):
    region = np.zeros((50, 60), bool)
    region[5 : 5 + height, 7 : 7 + width] = True
    for seed in range(10):
        rng = np.random.default_rng(seed)
        drawn = [draw_stroke(rng, region, True, style) for style in STROKES] + [draw_contour(rng, region, True)]
        check_inside(filter(None, drawn), 50, 60)


def test_contours_go_around_their_region():
    region = boomerang()
    overlaps = []
    for seed in range(30):
        contour = draw_contour(np.random.default_rng(seed), region, True)
        inside = rasterize([contour], WholePicture(*region.shape))[4] > 0
        overlaps.append(np.count_nonzero(inside & region) / np.count_nonzero(inside | region))
    assert 0.5 < np.mean(overlaps) < 0.95 and np.std(overlaps) > 0.02 and min(overlaps) > 0.2
    assert loose_contour(np.random.default_rng(0), np.zeros((20, 20), bool)) is None


# ---------------------------------------------------------------------------------------------- users


def test_a_drawing_user_draws_what_is_asked_for_and_then_clicks():
    truth = boomerang()
    user = DrawingUser(truth, ["stroke", "contour", "click"])
    mask = np.zeros_like(truth)
    for _ in range(4):
        mask |= rasterize([user.interact(mask)], WholePicture(*truth.shape))[[0, 2, 4]].any(0)
    assert [type(one) for one in user.interactions] == [Stroke, Contour, Click, Click]


def test_a_user_of_clicks_alone_is_the_graders():
    truth, mask = boomerang(), np.zeros((120, 160), bool)
    clicker, user = Clicker(gt_mask=truth.astype(int)), DrawingUser(truth.astype(int), ["click"])
    for _ in range(3):
        clicker.make_next_click(mask)
        user.interact(mask)
    assert user.interactions == clicker.get_clicks()


@pytest.mark.parametrize("kind", KINDS[1:])
def test_drawings_follow_the_error(kind):
    truth = boomerang()
    flooded, missed = np.ones_like(truth), truth & (np.arange(160) > 70)
    assert not next_drawing(np.random.default_rng(0), kind, truth, flooded).is_positive
    correction = next_drawing(np.random.default_rng(0), kind, truth, missed)
    assert correction.is_positive and np.mean(np.array(correction.points)[:, 1] < 80) > 0.8


def test_ignored_pixels_are_no_error():
    truth = np.where(boomerang(), 1, -1)
    user = DrawingUser(truth, ["stroke"], seed=3)
    assert isinstance(user.interact(np.ones(truth.shape, bool)), Click)  # no error is left: as the grader clicks then


def test_random_users_differ_by_task_and_seed():
    def first(seed: int, task: str) -> Stroke:
        return DrawingUser(boomerang(), ["stroke"], "straight", seed, task).interact(np.zeros((120, 160), bool))

    assert first(0, "a") == first(0, "a") and first(0, "a") != first(0, "b") and first(0, "a") != first(1, "a")
