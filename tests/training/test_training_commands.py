"""Training as people start it: own photos, the command line, records and the recipe check."""
from __future__ import annotations

import csv
import dataclasses
import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_coco_lvis import ANNOTATION, COCO_IDS
from training_tools import (
    CHECKPOINT,
    PROJECT,
    TINY,
    TWO_PHASES,
    VAL_IDS,
    learnt,
    train,
)

import solution
from solution import ISModel, Recipe, TrainingError, find_photos
from utils import click_training
from utils.click_training import recipe_from, training_record
from utils.encoders import lite_layers
from utils.files import folder_lock

# ------------------------------------------------------------------------------------------------ other trees, errors


def test_errors_of_the_data_are_sentences(folder, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
        find_photos(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="hannotation.pickle"):
        find_photos(tmp_path)
    with pytest.raises(TrainingError, match="nowhere.pth.*--data all"):
        solution.find_training_photos(folder, str(tmp_path / "nowhere.pth"))
    torch.save({"state_dict": ISModel().state_dict()}, tmp_path / "bare.pth")
    with pytest.raises(TrainingError, match="does not name the photos"):
        solution.find_training_photos(folder, str(tmp_path / "bare.pth"))
    monkeypatch.setitem(sys.modules, "utils.datasets", None)
    with pytest.raises(TrainingError, match="put utils beside it"):
        find_photos(folder)


def test_datasets_that_cannot_list_their_photos_are_named(folder, monkeypatch):
    import utils.datasets

    monkeypatch.setattr(utils.datasets, "CocoLvisDataset", lambda *_, **__: object())
    with pytest.raises(TrainingError, match="dataset_samples"):
        find_photos(folder)


@pytest.fixture
def names_photos(tmp_path, monkeypatch) -> Callable[[Sequence[str]], Path]:
    """Puts a checkpoint that names photos beside the (seeming) place of solution.py."""
    monkeypatch.setattr(solution, "__file__", str(tmp_path / "solution.py"))

    def name(ids: Sequence[str]) -> Path:
        torch.save({"state_dict": {"a": torch.zeros(1)}, "training": {"ids": list(ids)}}, tmp_path / "checkpoint.pth")
        return tmp_path / "checkpoint.pth"

    return name


def test_photos_named_by_a_checkpoint_are_found_in_both_splits(folder, names_photos):
    path = names_photos([COCO_IDS[1], VAL_IDS[0]])
    for data, own in (("auto", False), ("checkpoint", False), (str(path), True)):
        photos, held_out, is_own = solution.find_training_photos(folder, data)
        assert [p.id for p in photos] == [COCO_IDS[1], VAL_IDS[0]] and [p.id for p in held_out] == [VAL_IDS[1]]
        assert is_own == own


def test_a_folder_of_own_photos_is_trained_on_as_a_whole(folder, names_photos):
    names_photos([COCO_IDS[1], *(f"{i:012d}" for i in range(1000, 1011))])  # one of twelve is there, by chance
    photos, held_out, own = solution.find_training_photos(folder, "auto")
    assert [p.id for p in photos] == list(COCO_IDS) and [p.id for p in held_out] == list(VAL_IDS) and own
    with pytest.raises(TrainingError, match=r"1 of the 12 photos .*all 3 photos .*--data all"):
        solution.find_training_photos(folder, "checkpoint")
    names_photos([*COCO_IDS, "000000001000"])  # three of four are neither these nor those
    with pytest.raises(TrainingError, match="3 of the 4 photos"):
        solution.find_training_photos(folder, "auto")


def test_it_trains_beside_a_bare_utils(folder, tmp_path):
    """A tree that offers the template's names and no others: no curves, no contact sheets, but a checkpoint."""
    room = tmp_path / "room"
    shutil.copytree(Path(__file__).parents[1] / "bare", room)
    shutil.copy(solution.__file__, room)
    program = (
        "import solution; recipe = solution.Recipe(samples=8, batch_size=4, resolutions=((0, 32),), min_area=500, "
        "drawings='separate'); "
        "print(solution.train_segmentation('data', 'out', recipe, 'all', False, device='cpu', workers=0)); "
        "solution.main(['--workers', '0'])"
    )
    (room / "data").symlink_to(folder)
    done = subprocess.run([sys.executable, "-c", program], cwd=room, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert (room / "out" / "checkpoints" / "last_checkpoint.pth").exists() and (room / "out" / "state.pth").exists()
    assert "samples 8, " in done.stdout and "iou@3" in done.stdout
    assert done.stdout.count("the result understands clicks only") == 1
    assert "arguments need utils/click_training.py" in done.stderr
    config = torch.load(room / "out" / "checkpoints" / "last_checkpoint.pth", weights_only=True)["config"]
    assert config["drawings"] == ""


# ------------------------------------------------------------------------------------------------ own photos


def test_it_trains_without_photos_to_validate_on(folder, tmp_path, capsys):
    shutil.rmtree(folder / "val")
    train(folder, tmp_path, dataclasses.replace(TINY, samples=8))
    assert "none held out, so there is no validation" in capsys.readouterr().out
    assert not (tmp_path / "checkpoints" / "best.pth").exists()


def test_validation_photos_may_vanish(folder, tmp_path):
    train(folder, tmp_path, epoch_samples=4, minutes=0)
    shutil.rmtree(folder / "val" / "images")
    train(folder, tmp_path, epoch_samples=4)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0]["iou@3"] and not rows[-1]["iou@3"] and rows[-1]["samples"] == "24"


def test_objects_that_are_too_small_are_told_with_what_fits(folder, tmp_path):
    with pytest.raises(TrainingError, match=r"min_area = 9000 .*the largest has 3328 .*--min-area (400|[5-9]\d\d)\b"):
        train(folder, tmp_path, dataclasses.replace(TINY, min_area=9000))


def test_a_run_that_no_longer_gets_better_ends_with_its_best_weights(folder, tmp_path, monkeypatch, capsys):
    figures = iter([0.2, 0.5, 0.4, 0.5, 0.9])
    monkeypatch.setattr(solution, "validate", lambda *_: ({f"iou@{k}": next(figures) if k == 3 else 0.1
                                                           for k in (1, 2, 3)}, []))
    last = train(folder, tmp_path, epoch_samples=4, patience=2)
    assert "ends with its best weights" in capsys.readouterr().out
    assert learnt(tmp_path)["batch"] == 3
    assert torch.load(last, weights_only=True)["training"]["phases"][0]["samples"] == 4
    assert train(folder, tmp_path, epoch_samples=4, patience=2) == last and next(figures) == 0.9  # it stays ended


def test_two_trainings_do_not_share_a_folder(folder, tmp_path):
    with folder_lock(tmp_path, "training"), pytest.raises(TrainingError, match="another training is writing to"):
        train(folder, tmp_path)


def test_the_schedule_is_fitted_to_the_time_once(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(click_training, "estimate_seconds", lambda plan: 240.0)
    recipe = dataclasses.replace(TINY, samples=48, resolutions=((0, 32), (24, 48)))
    train(folder, tmp_path, recipe, fit_minutes=2, minutes=0)
    monkeypatch.setattr(click_training, "estimate_seconds", lambda plan: 24.0)  # the machine is faster now
    last = train(folder, tmp_path, recipe, fit_minutes=2, minutes=0)
    kept = recipe_from(torch.load(last, weights_only=True)["training"]["phases"][0]["recipe"])
    assert kept.samples == 24 and kept.resolutions == ((0, 32), (12, 48))


def test_what_will_be_trained_is_said_first(folder, tmp_path, capsys):
    train(folder, tmp_path, TWO_PHASES, minutes=0)
    said = capsys.readouterr().out.splitlines()[:5]
    assert said[0] == f"photos: 3 of {folder}, 2 held out"
    assert said[1] == "phases: 2, from random weights: 24, 8 samples in batches of 4"
    assert said[2].startswith("time:   about ") and said[3] == f"result: {tmp_path}/checkpoints/last_checkpoint.pth"
    assert said[4] == "needs:  utils/encoders.py where this checkpoint is used and graded"


# ------------------------------------------------------------------------------------------------ command line


def test_help_offers_every_setting_in_groups(capsys):
    with pytest.raises(SystemExit) as end:
        solution.main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    for setting in dataclasses.fields(Recipe):
        assert f"--{setting.name.replace('_', '-')} " in text
        assert text.count(f"\nrecipe, of every phase: {setting.metadata['group']}:\n") == 1


def test_settings_apply_to_every_phase_of_the_shipped_recipe():
    phases = click_training.override(solution.SHIPPED[:3], {"batch_size": 64, "seed": 7})
    assert [(p.batch_size, p.seed, p.samples) for p in phases] == [(64, 7, 64_000), (64, 8, 48_000), (64, 9, 44_800)]
    halved = click_training.override(solution.SHIPPED[:3], {"samples": 78_400})
    assert [(p.samples, p.lr_hold) for p in halved] == [(32_000, 0), (24_000, 15_192), (22_400, 4800)]
    assert halved[2].resolutions == ((0, 224), (11_200, 256))
    with pytest.raises(TrainingError, match="resolutions .* does not fit phase 2 of 48000 samples"):
        click_training.override(solution.SHIPPED, {"resolutions": [[0, 128], [50_000, 224]]})


def test_a_start_decides_network_and_resolution(tmp_path):
    config = solution.NetworkConfig("mobilenet_v3_large", working_size=160, disk_radius=4.0)
    solution.save_model(ISModel(config.backbone, config=config), tmp_path / "start.pth")
    (phase,) = solution.choose_phases(None, tmp_path / "start.pth")
    assert (phase.backbone, phase.disk_radius, phase.working_size) == ("mobilenet_v3_large", 4.0, 160)
    assert phase.resolutions == ((0, 160),) and phase.samples == solution.FINE_TUNING[0].samples
    (given,) = solution.choose_phases(TINY, tmp_path / "start.pth")
    assert (given.backbone, given.disk_radius, given.working_size) == ("mobilenet_v3_large", 4.0, 32)


def test_the_command_line_trains_all_phases(folder, tmp_path, capsys):
    torch.save(lite_layers("tiny").state_dict(), tmp_path / "weights.pth")
    arguments = ["--folder", str(folder), "--out", str(tmp_path / "out"), "--pretrained", str(tmp_path / "weights.pth"),
                 "--samples", "12", "--batch-size", "4", "--stages", "[[0, 32]]", "--min-area", "500", "--workers", "1"]
    assert solution.main([*arguments, "--device", "cpu", "--backbone", "tiny"]) == 0
    assert "wrote" in capsys.readouterr().out
    last = tmp_path / "out" / "checkpoints" / "last_checkpoint.pth"
    phases = torch.load(last, weights_only=True)["training"]["phases"]
    assert [(p["recipe"]["resolutions"], p["samples"]) for p in phases] == [([[0, 32]], 4)] * len(solution.SHIPPED)


@pytest.mark.parametrize("arguments, words", [
    ("--folder nowhere", "nowhere: there is no such folder"),
    ("--rounds []", "rounds must be a list like"),
    ("--rounds [0,0]", "at least one weight"),
    ("--stages 5", "resolutions must be a list like"),
    ("--stages []", "resolutions must be a list like"),
    ("--stages [[0.5,128]]", "resolutions must be a whole number"),
    ("--stages [[100,128]]", "begin at sample 0"),
    ("--stages [[0,16]]", "sides from 32"),
    ("--aspects [0]", "aspects must be a number from 0.1 to 10"),
    ("--zoom-range [0,0]", "zoom_range must be a number from 0.1"),
    ("--zoom-range [2,1]", "the smaller one first"),
    ("--seed -1", "seed must be a whole number from 0"),
    ("--long-side 0", "long_side must be a whole number from 32"),
    ("--ema-decay 5", "ema_decay must be a number from 0 to 1"),
    ("--lr nan", "lr must be a number from 0 to 1"),
    ("--backbone vgg16", "unknown backbone 'vgg16'"),
    ("--minutes -1", "minutes must be at least 0"),
    ("--epochs 0", "epochs must be above 0"),
    ("--workers -1", "workers must be at least 0"),
    ("--device foo", "device 'foo'"),
    pytest.param("--device cuda", "device 'cuda'", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU")),
    ("--start nowhere.pth", "nowhere.pth: there is no such file"),
    ("--recipe-check --seed 3", "the recipe check takes no seed"),
    ("--print-recipe --epochs 3", "leave out --epochs"),
    ("--recipe nowhere.json", "nowhere.json"),
])
def test_the_command_line_explains_failures(folder, tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    data = [] if "--folder" in arguments else ["--folder", str(folder)]
    assert solution.main([*data, *arguments.split()]) == 1
    error = capsys.readouterr().err
    assert error.startswith("solution.py: ") and words in error and error.count("\n") == 1


def test_a_disk_that_takes_nothing_is_a_sentence(folder, tmp_path, capsys, monkeypatch):
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "state.pth"))

    monkeypatch.setattr(solution.os, "replace", refuse)
    arguments = ["--folder", str(folder), "--data", "all", "--out", str(tmp_path), "--start", str(CHECKPOINT),
                 "--samples", "4", "--batch-size", "4", "--resolutions", "[[0, 32]]", "--min-area", "500"]
    assert solution.main([*arguments, "--workers", "0", "--device", "cpu"]) == 1
    assert "state.pth: No space left on device; mend it or name another --out" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.pth.tmp"))


@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(Recipe)]),
                       st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
                                    lambda inner: st.lists(inner, max_size=3), max_leaves=5), max_size=3))
@settings(max_examples=150)
def test_nonsense_in_a_recipe_is_a_training_error(plain):
    try:
        recipe = recipe_from(plain)
    except TrainingError as error:
        assert "\n" not in str(error).replace(repr("\n"), "")
    else:
        assert recipe_from(json.loads(json.dumps(solution.plain_recipe(recipe)))) == recipe


def test_unknown_settings_are_named():
    with pytest.raises(TrainingError, match="unknown to this solution.py: momentum"):
        recipe_from({"momentum": 1})


def printed(capsys, *arguments: str) -> str:
    assert solution.main(["--print-recipe", *arguments]) == 0
    return capsys.readouterr().out


def test_a_printed_recipe_is_read_again_and_a_checkpoint_gives_its_own(tmp_path, capsys):
    path = tmp_path / "recipe.json"
    path.write_text(printed(capsys), encoding="utf-8")
    assert click_training.read_recipe(path) == solution.SHIPPED
    path.write_text(printed(capsys, "--recipe", str(path), "--batch-size", "8", "--seed", "5"), encoding="utf-8")
    assert [(phase.batch_size, phase.seed) for phase in click_training.read_recipe(path)] == [
        (8, 5 + number) for number in range(len(solution.SHIPPED))
    ]
    own = training_record(solution.read_checkpoint(CHECKPOINT))["phases"]
    assert click_training.read_recipe(CHECKPOINT) == tuple(recipe_from(phase["recipe"]) for phase in own)
    path.write_text(printed(capsys, "--start", str(CHECKPOINT)), encoding="utf-8")
    assert click_training.read_recipe(path) == solution.choose_phases(None, CHECKPOINT)


@pytest.mark.parametrize("content, words", [
    ("{", "recipe.json"), ("[]", "no recipe"), ("[3]", "no recipe"), ('{"momentum": 1}', "unknown to this solution.py"),
    ('[{"lr": 0.1}, {"lr": 5}]', "lr must be a number"),
])
def test_a_file_without_a_recipe_is_a_sentence_that_names_it(tmp_path, capsys, content, words):
    path = tmp_path / "recipe.json"
    path.write_text(content, encoding="utf-8")
    assert solution.main(["--recipe", str(path), "--print-recipe"]) == 1
    error = capsys.readouterr().err
    assert str(path) in error and words in error and error.count("\n") == 1


def test_tensorboard_gets_scalars_and_the_contact_sheet(folder, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(folder, tmp_path, tensorboard=True, minutes=0)
    train(folder, tmp_path, tensorboard=True)
    found = events.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [entry.step for entry in found.Scalars("training/loss")] == [4, 8, 12, 16, 20, 24]
    assert {"validation/iou@3", "validation/lr"} <= set(found.Tags()["scalars"]) and found.Images("examples")


def test_without_tensorboard_the_sentence_says_what_to_install(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match="pip install tensorboard"):
        train(folder, tmp_path, tensorboard=True)


def test_a_record_of_nested_phases_is_flattened():
    recipe = {"samples": 1000, "stages": [[0.0, 128], [0.6, 224]], "steady": 0.6, "warm_up": 0.02, "rate": 1e-3}
    first = {"ids": ["1", "2"], "held_out": ["3"], "samples": 5, "losses": [[16, 0.5]]}
    content = {"training": {"after": first, "ids": ["1", "2"], "held_out": ["3"], "samples": 7, "recipe": recipe}}
    record = training_record(content)
    assert record["ids"] == ["1", "2"] and record["held_out"] == ["3"]
    assert [phase["samples"] for phase in record["phases"]] == [5, 7] and record["phases"][0]["losses"] == [[16, 0.5]]
    kept = recipe_from(record["phases"][1]["recipe"])
    assert kept == Recipe(samples=1000, resolutions=((0, 128), (600, 224)), lr_hold=600, warm_up=20, lr=1e-3)
    assert training_record({"training": record}) == record and training_record({}) == {}


@pytest.fixture
def recorded(folder, tmp_path, monkeypatch) -> tuple[Path, Path]:
    """A checkpoint with its record beside the (seeming) place of solution.py; gives the data and an output folder."""
    train(folder, tmp_path / "first")
    (tmp_path / "home").mkdir()
    shutil.copy(tmp_path / "first" / "checkpoints" / "last_checkpoint.pth", tmp_path / "home" / "checkpoint.pth")
    monkeypatch.setattr(solution, "__file__", str(tmp_path / "home" / "solution.py"))
    shutil.copy(PROJECT / "solution.py", tmp_path / "home")
    return folder, tmp_path / "again"


def test_the_recipe_check_follows_its_own_record(recorded, capsys):
    assert click_training.check_recipe(*recorded, pretrained=False, device="cpu", workers=0)
    text = capsys.readouterr().out
    assert text.count("recorded") == 6 and "+0.0000" in text and ": follows the record" in text


def test_the_recipe_check_of_two_phases_is_about_the_first(folder, tmp_path, recorded, capsys):
    train(folder, tmp_path / "second", (TINY, dataclasses.replace(TINY, samples=4)))
    shutil.copy(tmp_path / "second" / "checkpoints" / "last_checkpoint.pth", tmp_path / "home" / "checkpoint.pth")
    assert click_training.check_recipe(*recorded, pretrained=False, device="cpu", workers=0)
    text = capsys.readouterr().out
    assert text.count("recorded") == 6 and ": follows the record" in text


def test_the_recipe_check_notices_another_record(recorded, tmp_path, capsys):
    path = tmp_path / "home" / "checkpoint.pth"
    content = torch.load(path, weights_only=True)
    first = content["training"]["phases"][0]
    first["losses"] = [[seen, loss + 0.05] for seen, loss in first["losses"]]
    torch.save(content, path)
    assert not click_training.check_recipe(*recorded, pretrained=False, device="cpu", workers=0)
    assert "DOES NOT follow" in capsys.readouterr().out
    (recorded[0] / "train" / "hannotation.pickle").write_bytes(pickle.dumps({COCO_IDS[0]: ANNOTATION}))
    with pytest.raises(TrainingError, match="1 of the 3 photos"):
        click_training.check_recipe(*recorded, pretrained=False, device="cpu", workers=0)


def test_a_recipe_takes_the_former_name_of_resolutions() -> None:
    assert Recipe(samples=64, stages=((0.0, 64),)) == Recipe(samples=64, resolutions=((0, 64),))
