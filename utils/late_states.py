"""A regression set of late clicks: 200 masks after ten clicks, and what the next click makes of each.

    python -m utils.late_states build checkpoint.pth states.npz     plays ten clicks on objects of COCO_LVIS/val
    python -m utils.late_states check other.pth states.npz          one more click each, in about a minute

A state is an object, its clicks so far and the last probability map. The next click is the grader's, so it depends on
the state alone: models are compared on the same ones. It is told how much it changes IoU, how many clicks hurt (IoU
falls by more than .05), and which do the most.
"""
from __future__ import annotations

import argparse
import io
import json
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from utils.coco_lvis import ANNOTATIONS, SampleError, read_annotations, read_sample
from utils.files import UsageError, UserError, read_bytes, tolerant_output, write_whole
from utils.images import encode_png
from utils.interactions import Click, Clicker, ExactUser
from utils.metrics import HURT, iou
from utils.models import Model, ModelError, open_model, takes_prev_mask

FORMAT = 1
LEAST_AREA = 1000  # of an object, in pixels
WORST = 10  # states that a check names


class State(NamedTuple):
    """An object after some clicks.

    Attributes:
        image_id, number: of the photo, and of the object in it.
        clicks: (y, x, is_positive) so far.
        probability: uint8 (H, W), the last map in 255ths.
        threshold: above which it is the mask.
    """

    image_id: str
    number: int
    clicks: list[tuple[int, int, bool]]
    probability: np.ndarray
    threshold: float

    @property
    def mask(self) -> np.ndarray:
        """Bool (H, W)."""
        return self.probability > 255 * self.threshold


class Change(NamedTuple):
    """What the next click made of a state."""

    state: State
    before: float  # IoU
    after: float


# ---------------------------------------------------------------------------------------------- build


def build(model: Model, split: Path, count: int = 200, clicks: int = 10, seed: int = 0) -> Iterator[State]:
    """Plays the grader's protocol on an object of each of some photos; objects without an error left are passed over.

    Args:
        model: that the clicks are made for.
        split: of a COCO_LVIS folder.
        count: of the states, as far as there are photos.
        clicks: of each state.
        seed: of the choice of photos and objects.

    Raises:
        SampleError: the split can't be read.
    """
    annotations = list(read_annotations(split / ANNOTATIONS).items())
    random = np.random.default_rng(seed)
    found = 0
    for place in random.permutation(len(annotations)):
        name, annotation = annotations[place]
        image, layers, mapping = read_sample(split, name)
        truths = [layers[layer] == label for layer, label in mapping[: annotation["num_instance_masks"]]]
        large = [number for number, truth in enumerate(truths) if np.count_nonzero(truth) >= LEAST_AREA]
        chosen = int(random.choice(large)) if large else 0
        state = play(model, image, truths[chosen], str(name), chosen, clicks) if large else None
        if state is not None:
            yield state
            found += 1
        if found == count:
            return


def play(model: Model, image: np.ndarray, truth: np.ndarray, name: str, number: int, clicks: int) -> State | None:
    """The state of an object, bool (H, W), after so many clicks; None if its mask has no error left."""
    user, mask = ExactUser(truth.astype(np.int32)), np.zeros(truth.shape, bool)
    model.predictor.set_input_image(image)
    for _ in range(clicks):
        user.click(mask)
        probability = model.predictor.get_prediction(user.clicker)
        mask = probability > model.threshold
    made = [(*map(int, click.coords), bool(click.is_positive)) for click in user.clicker.get_clicks()]
    state = State(name, number, made, np.rint(255 * probability).astype(np.uint8), model.threshold)  # type: ignore
    return state if (state.mask != truth).any() else None


# ---------------------------------------------------------------------------------------------- check


def check(model: Model, states: Sequence[State], split: Path) -> Iterator[Change]:
    """Makes the next click of each state.

    Raises:
        SampleError: a photo of the states is missing or damaged.
        ModelError: the model can't go on from a mask.
    """
    if not takes_prev_mask(model.predictor):
        raise ModelError("get_prediction has no argument prev_mask, so the model can't go on from a state")
    for state in states:
        image, layers, mapping = read_sample(split, state.image_id)
        layer, label = mapping[state.number] if state.number < len(mapping) else (0, 0)
        truth = layers[layer] == label
        if not label or truth.shape != state.probability.shape:
            raise SampleError(f"photo {state.image_id} of {split} is not the one of the states: build them anew")
        clicker = Clicker(gt_mask=truth.astype(np.int32),
                          init_clicks=[Click(positive, (y, x)) for y, x, positive in state.clicks])
        clicker.make_next_click(state.mask)
        model.predictor.set_input_image(image)
        probability = model.predictor.get_prediction(clicker, prev_mask=state.probability.astype(np.float32) / 255)
        yield Change(state, iou(state.mask, truth), iou(probability > model.threshold, truth))


def report(changes: Sequence[Change]) -> str:
    """What the clicks changed, in words and figures."""
    before, after = np.array([change[1:] for change in changes]).T
    gains = after - before
    hurt = int((gains < -HURT).sum())
    error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else float("nan")
    lines = [f"mean IoU    {before.mean():.4f} -> {after.mean():.4f} ({gains.mean():+.4f} +- {error:.4f})",
             f"hurtful     {hurt} of {len(gains)} clicks ({hurt / len(gains):.1%}) cost more than {HURT}",
             f"{'worst':12}{'photo':14}{'object':>6}  before   after  change"]
    for place in np.argsort(gains)[:WORST]:
        state = changes[place].state
        lines.append(f"{'':12}{state.image_id:14}{state.number:6}  {before[place]:6.4f}  {after[place]:6.4f}  "
                     f"{gains[place]:+.4f}")
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------- the file


def write_states(path: Path, states: Sequence[State]) -> None:
    """Writes states as one .npz file: `states`, a JSON text, and the maps as PNGs."""
    described = [state._replace(probability=None)._asdict() for state in states]  # type: ignore[arg-type]
    maps: dict[str, Any] = {f"map{n}": np.frombuffer(encode_png(state.probability), np.uint8)
                            for n, state in enumerate(states)}  # fmt: skip
    content = io.BytesIO()
    np.savez(content, states=np.array(json.dumps({"format": FORMAT, "states": described})), **maps)
    write_whole(path, content.getvalue())


def read_states(path: Path) -> list[State]:
    """What `write_states` wrote.

    Raises:
        UserError: the file is missing, damaged or something else.
    """
    content = read_bytes(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            plain: dict[str, Any] = json.loads(str(file["states"]))
            maps = [np.asarray(cv2.imdecode(file[f"map{n}"], cv2.IMREAD_GRAYSCALE))
                    for n in range(len(plain["states"]))]
        states = [State(**{**state, "probability": one}) for state, one in zip(plain["states"], maps, strict=True)]
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, cv2.error) as error:
        raise UserError(f"{path} holds no late states, or is damaged ({error}); build it again") from error
    if plain["format"] != FORMAT or not states:
        raise UserError(f"{path} holds no states that this version reads; build it again")
    return states


# ---------------------------------------------------------------------------------------------- the command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m utils.late_states", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=("build", "check"), help="make the states, or try a model on them")
    parser.add_argument("model", metavar="CHECKPOINT", help="or any other model with previous masks")
    parser.add_argument("states", type=Path, metavar="STATES", help="file that build writes, for example states.npz")
    parser.add_argument("--split", type=Path, default=Path("COCO_LVIS/val"), help="the photos (default: %(default)s)")
    parser.add_argument("--count", type=int, default=200, help="of states to build (default: %(default)s)")
    parser.add_argument("--clicks", type=int, default=10, help="before a state (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of photos and objects")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Runs the command; gives the exit status."""
    tolerant_output()
    try:
        given = _parser().parse_args(arguments)
        if given.count < 1 or given.clicks < 1 or given.seed < 0:
            raise UsageError("--count and --clicks are 1 or more, and --seed 0 or more")
        known = read_states(given.states) if given.action == "check" else []
        model = open_model(given.model)
        if given.action == "check":
            print(report(list(tqdm(check(model, known, given.split), total=len(known), disable=None))))
            return 0
        found = build(model, given.split, given.count, given.clicks, given.seed)
        states = list(tqdm(found, total=given.count, disable=None))
        if not states:
            raise UserError(f"{given.split} has no object of {LEAST_AREA} pixels with an error left after "
                            f"{given.clicks} clicks; give another --split or fewer --clicks")
        write_states(given.states, states)
        print(f"{given.states}: {len(states)} states after {given.clicks} clicks")
    except UserError as error:
        print(f"utils.late_states: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
