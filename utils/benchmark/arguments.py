"""The command line of the benchmark."""
from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from utils.benchmark.combinations import STEPS, combinations
from utils.benchmark.formats import DATASET_FORMATS
from utils.benchmark.protocol import EXACT, NOISY, NOTHING, PERTURBED, Drawing, Manner, Protocol
from utils.benchmark.records import FORMER_PERTURBED
from utils.files import UsageError
from utils.interactions import KINDS, Noise
from utils.scribbles import STROKES

USERS = (EXACT, NOISY, "spread", "outside", "wrong-sign")
CLICKS = 20  # as RITM (Sofiiuk et al. 2021) stops
MOST_CLICKS = 1000
MOST_PROCESSES = 256
MOST = 2**31 - 1  # of what has no limit of its own


def parse_arguments(description: str, given: Sequence[str]) -> argparse.Namespace:
    """The arguments; a log of interactions is a log to replay."""
    options = _parser(description).parse_args(given)
    if isinstance(options.interactions, Path):
        options.replay, options.interactions = options.interactions, None
    return options


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m utils.benchmark", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _add_data_arguments(parser.add_argument_group("data"))
    _add_protocol_arguments(parser.add_argument_group("protocol"))
    models = parser.add_argument_group("models")
    models.add_argument(
        "--model", action="append", metavar="[NAME=]SOURCE",
        help="a model file (.pth, .onnx, .xml), grabcut (OpenCV's, without a network) or module:attribute, an object "
        "(or what makes one) with set_input_image and get_prediction; several are compared task by task (default: "
        "checkpoint.pth)",
    )
    models.add_argument("--device", default="cpu", help="where networks compute (default: cpu)")
    models.add_argument("--precision", default="fp32", help="of exported networks: fp32, or bf16 where the CPU has it "
                        "(default: fp32)")
    running = parser.add_argument_group("running")
    running.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    running.add_argument("--jobs", type=whole_number(1, MOST_PROCESSES), default=1, metavar="N",
                         help="number of processes (default: 1)")
    running.add_argument("--threads", type=whole_number(1, MOST_PROCESSES), default=1, metavar="N",
                         help="threads of each process (default: 1)")
    running.add_argument("--fresh", action="store_true", help="forget what an earlier run left in the output folder")
    return parser


def _add_data_arguments(group: argparse._ArgumentGroup) -> None:
    formats = "; ".join(f"{name}: {known.description}" for name, known in DATASET_FORMATS.items())
    group.add_argument(
        "data", nargs="+", metavar="DATA",
        help=f"a folder, whose format is recognised, or FORMAT:FOLDER. The formats are {formats}".replace("%", "%%"),
    )
    group.add_argument("--limit", type=whole_number(1), metavar="N",
                       help="only N tasks of each data set, spread evenly")
    group.add_argument("--split", help="of sbd, voc and cocolvis (default: val), and of davis-tree (default: all)")
    group.add_argument("--min-area", type=whole_number(1), metavar="PIXELS",
                       help="leave out smaller objects (default: 1000 for cocolvis, else 1)")
    group.add_argument("--ignore-label", type=_labels, metavar="LABELS",
                       help="labels of label maps to ignore, such as 255,220 or none (default: 255 beside other "
                       "labels; voc, sbd: 255,220)")
    group.add_argument("--cluster", choices=("auto", "image", "sequence"), default="auto",
                       help="what the intervals take for independent (default: sequences of DAVIS, else images)")


def _add_protocol_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--clicks", type=whole_number(1, MOST_CLICKS), metavar="N",
                       help="clicks or other interactions a task; 100 for NoC100 (default: 20, with --interactions 10)")
    group.add_argument("--initial-masks", "--start", dest="initial", default=NOTHING, metavar="MASKS",
                       help="nothing, perturbed (the ground truth with defects) or a folder of masks named as the "
                       "tasks")
    group.add_argument("--user", "--robot", nargs="+", choices=USERS, default=[EXACT],
                       help="simulated users: exact is the grader's; noisy has the three defects below, the others "
                       "one of them each")
    group.add_argument("--spread", type=_rate, default=0.3, metavar="S",
                       help="standard deviation of clicks, in distances to the error's edge (default: 0.3)")
    group.add_argument("--outside-rate", type=_rate, default=0.1, metavar="R",
                       help="rate of clicks outside the error region (default: 0.1)")
    group.add_argument("--wrong-sign-rate", type=_rate, default=0.05, metavar="R",
                       help="rate of clicks with the wrong sign (default: 0.05)")
    group.add_argument("--interactions", type=_kinds, metavar="KINDS",
                       help="click,stroke,contour or some of them: every combination of them over the first three "
                       "steps, then clicks, and each kind alone (SAIC-IS's protocol); or another run's clicks.jsonl")
    group.add_argument("--stroke-style", choices=STROKES, default=Drawing.style,
                       help="how strokes are drawn (default: %(default)s, the deterministic one of DAVIS's challenge)")
    group.add_argument("--seed", type=whole_number(0), default=0, help="of noise and perturbed masks (default: 0)")
    group.add_argument("--replay", type=Path, metavar="LOG", help="repeat the clicks of another run's clicks.jsonl")
    group.add_argument("--replay-of", metavar="MODEL/USER", help="whose clicks, if the log has several")


def protocol_of(options: argparse.Namespace) -> Protocol:
    """The protocol that the arguments ask for.

    Raises:
        UsageError: the initial masks are no folder.
    """
    noise = Noise(options.spread, options.outside_rate, options.wrong_sign_rate)
    known = {
        EXACT: None,
        NOISY: noise,
        "spread": Noise(spread=noise.spread),
        "outside": Noise(outside=noise.outside),
        "wrong-sign": Noise(wrong_sign=noise.wrong_sign),
    }
    users: tuple[tuple[str, Manner], ...] = tuple((name, known[name]) for name in dict.fromkeys(options.user))
    if options.interactions:
        if options.user != [EXACT]:
            raise UsageError("--interactions has users of its own; leave --user out")
        drawn = combinations(options.interactions)
        users = tuple((name, Drawing(kinds, options.stroke_style)) for name, kinds in drawn.items())
    clicks = options.clicks or (STEPS if options.interactions else CLICKS)
    initial = PERTURBED if options.initial == FORMER_PERTURBED else options.initial
    if initial not in (NOTHING, PERTURBED) and not Path(initial).is_dir():
        raise UsageError(f"{initial} is no folder; --initial-masks is nothing, perturbed or a folder of masks")
    return Protocol(clicks, users, initial, options.seed)


def whole_number(low: int, high: int = MOST) -> Callable[[str], int]:
    """A type of an argument: a whole number in a range."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            limits = f"of {low} or more" if high == MOST else f"from {low} to {high}"
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number {limits}")
        return value

    return parse


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _kinds(text: str) -> tuple[str, ...] | Path:
    """Kinds of interactions, or a log."""
    parts = tuple(dict.fromkeys(text.split(",")))
    if set(parts) <= set(KINDS):
        return parts
    if Path(text).is_file():
        return Path(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a log nor some of {','.join(KINDS)}")


def _labels(text: str) -> tuple[int, ...]:
    from utils.labels import parse_value

    try:
        return () if text == "none" else tuple(parse_value(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; several as 255,220; or none") from error
