"""Strokes and contours in the Predictor, the network and training."""
import dataclasses

import numpy as np
import pytest
import torch

import solution
from solution import ISModel, NetworkConfig, Predictor, Recipe, click_rounds, next_clicks
from utils.clicker import Click, Clicker
from utils.drawings import first_drawing
from utils.interactions import KINDS, Contour, Stroke, WholePicture, as_clicks, rasterize
from utils.models import open_model

CLICKS = [Click(True, (40, 60)), Click(False, (5, 5))]
TRIANGLE = [(20, 20), (20, 80), (60, 50)]
DRAWN = [Stroke(False, [(3, 3), (3, 90)], 6), Contour(True, TRIANGLE), Contour.box(10, 10, 70, 90)]
SMALL = NetworkConfig(working_size=64)


def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)


def network(drawings: str) -> ISModel:
    torch.manual_seed(0)
    plain = ISModel(config=SMALL)
    model = ISModel(config=dataclasses.replace(SMALL, drawings=drawings))
    model.load_state_dict(solution._widened(plain.state_dict(), model.config))
    return model.eval()


def predictor(drawings: str) -> Predictor:
    made = Predictor(network(drawings))
    made.set_input_image(image())
    return made


@pytest.mark.parametrize("drawings", ["merged", "separate"])
def test_where_nothing_is_drawn_the_answers_stay_the_same(drawings):
    expected = predictor("").get_prediction(CLICKS)
    assert np.array_equal(predictor(drawings).get_prediction(CLICKS), expected)
    assert np.array_equal(predictor(drawings).get_prediction(Clicker(init_clicks=CLICKS)), expected)


@pytest.mark.parametrize("drawings, kinds", [("", KINDS[:1]), ("merged", KINDS), ("separate", KINDS)])
def test_a_checkpoint_says_what_it_understands(drawings, kinds, tmp_path):
    solution.save_model(network(drawings), tmp_path / "some.pth")
    assert open_model(tmp_path / "some.pth").understands == kinds


@pytest.mark.parametrize("drawings", ["merged", "separate"])
@pytest.mark.parametrize("one", DRAWN)
def test_what_is_drawn_is_seen_and_sign_and_place_matter(drawings, one):
    asked = predictor(drawings)
    plain, drawn = (asked.get_prediction(items) for items in (CLICKS, [*CLICKS, one]))
    other = asked.get_prediction([*CLICKS, dataclasses.replace(one, is_positive=not one.is_positive)])
    assert not np.array_equal(plain, drawn) and not np.array_equal(drawn, other)


@pytest.mark.filterwarnings("ignore:this checkpoint knows clicks")
@pytest.mark.parametrize("drawings", ["", "merged", "separate"])
def test_an_undo_in_the_middle_of_a_mixed_list_leads_back(drawings):
    mixed = [CLICKS[0], DRAWN[0], CLICKS[1], DRAWN[1]]
    asked = predictor(drawings)
    states = [asked.get_prediction(mixed[:count]) for count in (2, 3, 4)]
    assert all(np.array_equal(asked.get_prediction(mixed[:count]), states[count - 2]) for count in (2, 4, 3))


@pytest.mark.filterwarnings("ignore:this checkpoint knows clicks")
@pytest.mark.parametrize("drawings", ["", "separate"])
def test_a_hundred_interactions_are_answered(drawings):
    answer = predictor(drawings).get_prediction((CLICKS + DRAWN) * 20)
    assert answer.shape == (80, 100) and np.isfinite(answer).all()


@pytest.mark.parametrize("one", [
    Stroke(True, [(5, 5), (5, 120)]), Contour(True, [(-2, 0), (50, 0), (50, 50)]), Click(True, (80, 0))
])  # fmt: skip
def test_what_lies_outside_is_refused(one):
    with pytest.raises(ValueError, match="outside the image of 80x100"):
        predictor("separate").get_prediction([CLICKS[0], one])


def test_a_checkpoint_of_clicks_takes_a_stroke_as_clicks_and_says_so_once():
    stroke = Stroke(True, [(20, 20), (20, 80)])
    asked = predictor("")
    with pytest.warns(UserWarning, match="clicks alone"):
        drawn = asked.get_prediction([stroke])
    asked.get_prediction([stroke, stroke])  # a second warning would be an error
    assert drawn.shape == (80, 100)
    drawing = solution._read_click(stroke)
    assert [tuple(click) for click in drawing.as_clicks(10)] == [(*c.coords, True) for c in as_clicks(stroke, 10)]


@pytest.mark.filterwarnings("ignore:this checkpoint knows clicks")
@pytest.mark.parametrize("is_positive", [True, False])
def test_for_a_checkpoint_of_clicks_a_contour_is_told_by_the_previous_mask(is_positive):
    seen = []
    asked = predictor("")
    asked._runtime = Recording(asked._runtime, seen)
    inside = rasterize([DRAWN[1]], WholePicture(80, 100))[4] > 0
    asked.get_prediction([dataclasses.replace(DRAWN[1], is_positive=is_positive)], prev_mask=np.full((80, 100), 0.6))
    share = (seen[-1] > 0.75).mean() if is_positive else (seen[-1] < 0.35).mean()
    assert share == pytest.approx(inside.mean(), rel=0.3)


@pytest.mark.filterwarnings("ignore:this checkpoint knows clicks")
def test_a_runtime_without_maps_of_drawings_gets_clicks():
    asked = predictor("separate")
    without = Recording(asked._runtime, [])
    without.understands = KINDS[:1]
    clicks = Predictor(without)
    clicks.set_input_image(image())
    assert clicks.understands == KINDS[:1] and asked.understands == KINDS
    stroke = DRAWN[0]
    assert np.array_equal(clicks.get_prediction([CLICKS[0], stroke]),
                          predictor("").get_prediction([CLICKS[0], stroke]))  # fmt: skip


class Recording:
    """A Runtime that notes the previous masks that it is given."""

    def __init__(self, runtime, seen: list) -> None:
        self.config, self._runtime, self._seen = runtime.config, runtime, seen

    def logits(self, inputs, points):
        self._seen.append(inputs[0, 3].numpy())
        return self._runtime.logits(inputs, points)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_predictor_draws_as_the_library_does(mirrored):
    frame = solution.Frame(4, 8, 40, 60, 80, 128, mirrored)
    maps = np.zeros((4, 80, 128), np.float32)
    for one in DRAWN:
        solution._read_click(one).draw(maps, frame)
    assert np.array_equal(maps, rasterize(DRAWN, frame)[2:])


# ---------------------------------------------------------------------------------------------- training

DRAWING = Recipe(drawings="separate", kinds=(0.0, 0.5, 0.5), p_exact_click=1.0)


def disk() -> np.ndarray:
    dy, dx = np.indices((64, 64)) - 32
    return dy**2 + dx**2 < 20**2


def test_a_first_drawing_stands_for_the_first_click():
    points = np.full((6, 3), -1, np.float32)
    points[0] = (32, 32, 0)
    maps = first_drawing((0, 5, 1), disk(), points, DRAWING)
    assert maps.shape == (4, 64, 64) and maps[[0, 2]].any() and not maps[[1, 3]].any()
    assert (points == -1).all()
    points[0] = (32, 32, 0)
    assert not first_drawing((0, 5, 1), disk(), points, dataclasses.replace(DRAWING, kinds=(1, 0, 0))).any()
    assert points[0].tolist() == [32, 32, 0]


def test_rounds_draw_and_click_as_their_kinds_say():
    truth = torch.from_numpy(disk())[None, None].float().repeat(8, 1, 1, 1)
    images, points = torch.rand(8, 3, 64, 64), torch.full((8, 6, 3), -1.0)
    for kinds, clicked in (((1.0, 0.0, 0.0), True), ((0.0, 1.0, 0.0), False)):
        recipe = dataclasses.replace(DRAWING, kinds=kinds)
        drawn = torch.zeros(8, 4, 64, 64)
        _, after, maps = click_rounds(
            network("separate"), images, truth, points, drawn, 2, recipe, torch.Generator().manual_seed(0)
        )
        assert bool((after[..., 2] > 0).any()) == clicked and bool(maps.any()) != clicked


def test_slips_fall_beside_the_error_or_have_the_wrong_sign():
    truth = torch.from_numpy(disk())[None].repeat(50, 1, 1)
    empty, exact = torch.zeros_like(truth), torch.ones(50, dtype=torch.bool)
    noise = torch.rand(truth.shape, generator=torch.Generator().manual_seed(0))
    none, every = torch.zeros(50, dtype=torch.bool), torch.ones(50, dtype=torch.bool)
    beside, _ = next_clicks(truth, empty, exact, noise, torch.stack([every, none]))
    y, x = beside[:, 0].long(), beside[:, 1].long()
    assert not truth[0][y, x].any() and bool(beside[:, 2].all())
    distance = torch.hypot(y - 32.0, x - 32.0)
    assert distance.max() < 41 and len(set(zip(y.tolist(), x.tolist(), strict=True))) > 20
    flipped, _ = next_clicks(truth, empty, exact, noise, torch.stack([none, every]))
    assert not flipped[:, 2].any()


def test_losses_on_pixels_count_those_alone():
    truth = torch.from_numpy(disk())[None, None].float()
    logits = torch.zeros(1, 1, 64, 64)
    logits[..., :32] = 5
    left = torch.zeros_like(truth, dtype=torch.bool)
    left[..., :32] = True
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[left], truth[left])
    assert solution.bce_on(logits, truth, left).item() == pytest.approx(expected.item(), rel=1e-5)
    assert solution.bce_on(logits, truth, ~(left | ~left)).item() == 0
