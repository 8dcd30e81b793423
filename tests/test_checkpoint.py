"""Checkpoint files: what is read, what is refused and in which words, and what the shipped one holds."""
from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import solution
from solution import CheckpointError, ISModel, NetworkConfig, save_model
from utils.click_training import recipe_from

CPU = torch.device("cpu")
SHIPPED = Path(solution.__file__).with_name("checkpoint.pth")


@pytest.fixture(scope="module")
def model() -> ISModel:
    torch.manual_seed(0)
    return ISModel()


@pytest.fixture(scope="module")
def content(model, tmp_path_factory) -> dict:
    """What `save_model` writes."""
    path = tmp_path_factory.mktemp("content") / "good.pth"
    save_model(model, path, {"ids": ["000000000009"], "metrics": {"iou@3": 0.5}})
    return torch.load(path, weights_only=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.pth"


def refusal(path: Path) -> str:
    """The message with which a file is refused; it begins with the file's name."""
    with pytest.raises(CheckpointError) as caught:
        ISModel().restore_from_checkpoint(str(path), CPU)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 1000
    return message


# ------------------------------------------------------------------------------------------------ what is read


def test_weights_are_stored_in_half_precision(content, model):
    floats = [v for v in content["state_dict"].values() if v.is_floating_point()]
    assert floats and all(v.dtype == torch.float16 for v in floats)
    assert content["state_dict"].keys() == model.state_dict().keys()


def test_the_whole_config_travels(path):
    config = NetworkConfig("mobilenet_v3_large", 128, 3.0, 0.45, (2, 4), 32, False)
    save_model(ISModel(config.backbone, config=config), path)
    again = ISModel()
    again.restore_from_checkpoint(path, CPU)
    assert again.config == config and again.pred_thr == 0.45


def test_missing_settings_of_a_config_are_the_defaults(content, path):
    torch.save({**content, "config": {"backbone": "mobilenet_v2"}}, path)
    model = ISModel()
    model.restore_from_checkpoint(path, CPU)
    assert model.config == NetworkConfig() and model.pred_thr == NetworkConfig.pred_thr


def test_a_bare_state_dict_of_half_precision_and_another_width(path):
    narrow = ISModel(config=NetworkConfig(decoder_width=48))
    torch.save({"state_dict": narrow.half().state_dict()}, path)
    again = ISModel()
    again.restore_from_checkpoint(path, CPU)
    assert again.config.decoder_width == 48
    assert all(p.dtype == torch.float32 for p in again.parameters())


def test_a_file_written_by_the_template_tools(model, tmp_path):
    from utils.misc import save_checkpoint

    save_checkpoint(model, tmp_path)
    again = ISModel("mobilenet_v3_large")
    again.restore_from_checkpoint(tmp_path / "last_checkpoint.pth", CPU)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())


def test_a_record_of_format_1_and_a_config_without_freeze_norm_are_read(content, path):
    config = {name: value for name, value in content["config"].items() if name != "freeze_norm"}
    torch.save({**content, "format": 1, "config": config}, path)
    model = ISModel()
    model.restore_from_checkpoint(path, CPU)
    assert model.config.freeze_norm  # its statistics are worth keeping


def test_a_file_is_replaced_at_once(model, path):
    path.write_bytes(b"old")
    save_model(model, path)
    assert [p.name for p in path.parent.iterdir()] == ["some.pth"]


# ------------------------------------------------------------------------------------------------ what is refused


def test_missing(path):
    assert "there is no such file" in refusal(path)
    path.mkdir()
    assert "there is no such file" in refusal(path)


def test_truncated(content, path):
    torch.save(content, path)
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "damaged" in refusal(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # noise may look like a newer pickle
@given(st.binary(max_size=200))
def test_arbitrary_bytes(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("noise") / "noise.pth"
    path.write_bytes(noise)
    with pytest.raises(CheckpointError, match="noise.pth: "):
        solution.read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@given(st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
@settings(max_examples=120)
def test_a_file_with_changed_bytes(tmp_path_factory, changes, zipped):
    path = tmp_path_factory.mktemp("changed") / "changed.pth"
    config = {"backbone": "mobilenet_v2", "aspp_rates": [3, 6]}
    content = {"format": 2, "config": config, "state_dict": {"a": torch.ones(2)}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    changed = bytearray(path.read_bytes())
    for place, value in changes:
        changed[int(place * len(changed))] = value
    path.write_bytes(changed)
    with contextlib.suppress(CheckpointError):
        solution._config_of(solution.read_checkpoint(path), path)


WEIRD = st.recursive(st.none() | st.booleans() | st.integers(-9, 10**6) | st.floats() | st.text(max_size=12),
                     lambda inner: st.lists(inner, max_size=9), max_leaves=9)


NAMES = [setting.name for setting in dataclasses.fields(NetworkConfig)]


@given(st.dictionaries(st.sampled_from([*NAMES, "other"]), WEIRD, max_size=4))
def test_nonsense_in_a_config(config):
    with contextlib.suppress(CheckpointError):
        solution._config_of({"format": 2, "config": config, "state_dict": {}}, "some.pth")


def test_a_web_page(path):
    path.write_text("<!DOCTYPE html><html><body>Quota exceeded</body></html>")
    assert "damaged, or not a plain checkpoint" in refusal(path)


def test_a_zip_of_something_else(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "damaged, or not a plain checkpoint" in refusal(path)


class Bomb:
    """Its pickle makes a folder when it is read without a guard."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code(content, path, tmp_path, zipped):
    hostile = {**content, "state_dict": {"a": torch.zeros(1), "b": Bomb(tmp_path / "trace")}}
    torch.save(hostile, path, _use_new_zipfile_serialization=zipped)
    assert re.search(r"mkdir|posix", refusal(path))
    assert not (tmp_path / "trace").exists()
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "trace"), protocol=2))
    refusal(path)
    assert not (tmp_path / "trace").exists()


def test_a_pickled_model(model, path):
    torch.save(model, path)
    assert "solution.ISModel" in refusal(path)


@pytest.mark.parametrize("foreign", [
    {"weights": {}}, {"state_dict": {}}, {"state_dict": [1]}, {"state_dict": {"a": "b"}}, torch.zeros(3), "text", None,
])
def test_foreign_contents(foreign, path):
    torch.save(foreign, path)
    assert 'holds no "state_dict" of tensors' in refusal(path)


def test_too_new(content, path):
    torch.save({**content, "format": solution.CHECKPOINT_FORMAT + 1}, path)
    assert re.search(r"format 3.*reads up to 2.*update", refusal(path))
    torch.save({**content, "format": "two"}, path)
    assert "format two" in refusal(path)


@pytest.mark.parametrize("config", [
    {"class": "isegm.model.HRNetModel", "params": {}},
    {"backbone": "vgg16"},
    {"backbone": ["mobilenet_v2"]},
    {"backbone": "mobilenet_v2", "decoder_width": "wide"},
    {"backbone": "mobilenet_v2", "decoder_width": 10**9},
    {"backbone": "mobilenet_v2", "pred_thr": 7},
    {"backbone": "mobilenet_v2", "aspp_rates": 3},
    ["mobilenet_v2"],
])
def test_configs_of_another_program(content, config, path):
    torch.save({**content, "config": config}, path)
    assert "its config is not one of this model" in refusal(path)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_taken_off(model, path, prefix):
    torch.save({"state_dict": {prefix + key: value for key, value in model.state_dict().items()}}, path)
    again = ISModel("mobilenet_v3_large")
    again.restore_from_checkpoint(path, CPU)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(content, path, value):
    state = {key: tensor.clone() for key, tensor in content["state_dict"].items()}
    state["decoder.0.0.weight"][0, 0] = value
    torch.save({**content, "state_dict": state}, path)
    assert "decoder.0.0.weight holds NaN or infinity, and 0 more" in refusal(path)


def test_a_mismatch_names_the_first_keys(content, path):
    state = dict(content["state_dict"])
    state["extra.weight"] = torch.zeros(2)
    del state["skip.0.weight"]
    state["project.0.weight"] = torch.zeros(64, 3, 1, 1)
    torch.save({**content, "state_dict": state}, path)
    message = refusal(path)
    assert "3 keys differ" in message
    assert "skip.0.weight is missing" in message and "extra.weight is not of this model" in message
    assert "project.0.weight is (64, 3, 1, 1), not (64, 256, 1, 1)" in message


def test_a_bare_mismatch_is_told_of_the_nearest_network(path):
    state = ISModel("mobilenet_v3_large").state_dict()
    del state["skip.0.weight"]
    torch.save({"state_dict": state}, path)
    assert "1 keys differ: skip.0.weight is missing" in refusal(path)


def test_many_differences_are_cut_short(path):
    torch.save({"state_dict": {f"layer{i}.weight": torch.zeros(1) for i in range(500)}}, path)
    message = refusal(path)
    assert message.count(";") == 4


# ------------------------------------------------------------------------------------------------ the shipped file


def is_plain(thing: object) -> bool:
    """Whether a thing is built of tensors and plain containers only."""
    if isinstance(thing, dict):
        return type(thing).__name__ in ("dict", "OrderedDict") and all(map(is_plain, (*thing, *thing.values())))
    if isinstance(thing, (list, tuple)):
        return type(thing) in (list, tuple) and all(map(is_plain, thing))
    return thing is None or type(thing) in (str, int, float, bool, torch.Tensor)


@pytest.fixture(scope="module")
def shipped() -> dict:
    if not SHIPPED.exists():
        pytest.fail(f"{SHIPPED} is missing: a clone can't be scored")
    return torch.load(SHIPPED, map_location="cpu", weights_only=True)


def test_the_shipped_file_is_small_and_plain(shipped):
    assert SHIPPED.stat().st_size < 20_000_000
    assert is_plain(shipped)
    assert all(v.dtype == torch.float16 for v in shipped["state_dict"].values() if v.is_floating_point())


def test_the_shipped_pickle_names_tensors_only():
    with zipfile.ZipFile(SHIPPED) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        program = archive.read(name)
    named = set()

    class Noter(pickle.Unpickler):
        def find_class(self, module, name):
            named.add(f"{module}.{name}")
            return lambda *_: None

        def persistent_load(self, _):
            return None

    Noter(io.BytesIO(program)).load()
    known = r"collections\.OrderedDict|torch\.\w*Storage|torch\._utils\._rebuild_tensor_v2"
    assert named and all(re.fullmatch(known, name) for name in named)


def test_the_shipped_file_tells_how_it_was_trained(shipped):
    training = shipped["training"]
    phases = training["phases"]
    assert tuple(recipe_from(phase["recipe"]) for phase in phases) == solution.SHIPPED
    assert shipped["config"]["backbone"] == solution.SHIPPED[-1].backbone and shipped["config"]["freeze_norm"]
    assert all(re.fullmatch(r"\d{12}", i) for i in training["ids"])
    assert len(set(training["ids"])) == len(training["ids"])
    assert not set(training["ids"]) & set(training["held_out"])
    for phase, recipe in zip(phases, solution.SHIPPED, strict=True):
        assert 0 < phase["samples"] <= recipe.samples and {"iou@1", "iou@2", "iou@3"} <= set(phase["metrics"])
        assert phase["losses"][0][0] == recipe.batch_size and re.fullmatch(r"[0-9a-f]{16}", phase["code"])


def test_the_shipped_file_restores(shipped):
    model = ISModel()
    model.restore_from_checkpoint(str(SHIPPED), CPU)
    assert all(v.isfinite().all() for v in model.state_dict().values())
    assert model.pred_thr == shipped["config"]["pred_thr"]
