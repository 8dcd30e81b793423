"""The network: the same questions to every backbone, and the click encoding against a plain reference."""
from __future__ import annotations

import copy
import dataclasses
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from solution import BACKBONES, CheckpointError, ISModel, NetworkConfig, _guess_config, click_disks, save_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=BACKBONES)
def model(request: pytest.FixtureRequest) -> ISModel:
    """Each backbone in turn, with random weights, in evaluation mode."""
    torch.manual_seed(0)
    return ISModel(request.param).eval()


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


def test_any_size_and_batch(model):
    for height, width, batch in ((32, 32, 1), (37, 51, 1), (64, 48, 2), (1, 90, 1)):
        logits = look(model, height, width, batch)
        assert logits.shape == (batch, 1, height, width) and logits.isfinite().all()


def test_a_sample_does_not_depend_on_its_batch(model):
    rng = torch.Generator().manual_seed(1)
    image = torch.rand(2, 4, 48, 48, generator=rng)
    points = torch.tensor([[[5.0, 6, 0], [-1, -1, -1]], [[-1, -1, -1], [9, 9, 0]]])
    with torch.no_grad():
        both = model(image, points)["instances"]
        alone = model(image[1:], points[1:])["instances"]
    assert torch.allclose(both[1:], alone, atol=1e-4)


def test_it_trains_every_parameter(model):
    image, points = torch.rand(1, 4, 32, 32), torch.tensor([[[5.0, 6, 0], [-1, -1, -1]]])
    model.zero_grad()
    model(image, points)["instances"].sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()


def test_save_and_load(model, tmp_path):
    save_model(model, tmp_path / "a.pth", {"ids": ["1"]})
    again = ISModel()  # of another backbone, mostly
    again.restore_from_checkpoint(str(tmp_path / "a.pth"), CPU)
    assert again.config == model.config and again.pred_thr == model.pred_thr
    # the file holds fp16 weights
    halved = {k: v.half().float() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    assert all(torch.equal(v, halved[k]) for k, v in again.state_dict().items())


def test_bare_state_dict_is_recognised(model, small, tmp_path):
    assert _guess_config(model.state_dict()) == dataclasses.replace(model.config, freeze_norm=True)
    again = ISModel("mobilenet_v3_large").eval()
    torch.save({"state_dict": small.state_dict()}, tmp_path / "bare.pth")  # as the template's save_checkpoint does
    again.restore_from_checkpoint(tmp_path / "bare.pth", CPU)
    assert again.config == dataclasses.replace(small.config, freeze_norm=True)  # its statistics are worth keeping
    assert not any(module.training for module in again.modules())  # the mode is kept
    assert torch.equal(look(again, 32, 32), look(small, 32, 32))


@pytest.fixture
def uneven(model) -> ISModel:
    """A copy whose norms change what they are given, as pretrained ones do."""
    model = copy.deepcopy(model)
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        for values in (norm.running_mean, norm.weight.data, norm.bias.data):
            values.uniform_(0.5, 1.0)
        norm.running_var.uniform_(0.5, 2.0)
    return model


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.allclose(found, expected, atol=2e-4 * float(expected.abs().max()))


def test_the_folded_copy_is_the_same_function(uneven):
    folded = uneven.folded()
    assert_close(look(folded, 48, 64), look(uneven, 48, 64))
    for network, count in ((uneven, 10), (folded, 0)):
        assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules()) >= count
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())


def test_output_strides(model):
    features = model.backbone(torch.rand(1, 6, 96, 64))
    low, high = BACKBONES[model.config.backbone].channels
    assert features["high"].shape == (1, high, 6, 4)
    assert features["low"].shape == (1, low, 24, 16)


def test_widened_stem_keeps_the_rgb_filters(model, tmp_path):
    torch.manual_seed(3)
    classifier = getattr(torchvision.models, model.config.backbone)()
    torch.save(classifier.state_dict(), tmp_path / "weights.pth")
    ours = ISModel(model.config.backbone, pretrained=tmp_path / "weights.pth")
    stem = next(m for m in ours.backbone.modules() if isinstance(m, torch.nn.Conv2d)).weight
    pretrained = next(m for m in classifier.modules() if isinstance(m, torch.nn.Conv2d)).weight
    assert torch.equal(stem[:, :3], pretrained) and stem.shape[1] == 6
    assert stem[:, 3:].std().item() == pytest.approx(pretrained.std().item(), rel=0.1)
    # and a deep layer came along
    last = [p for name, p in ours.backbone.named_parameters() if p.ndim == 4][-1]
    assert any(torch.equal(last, p) for p in classifier.parameters() if p.shape == last.shape)


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


def test_unknown_backbones_are_refused_by_name():
    with pytest.raises(ValueError, match="vgg16.*mobilenet_v2"):
        ISModel("vgg16")


@pytest.mark.parametrize("changes", [
    {"working_size": 0}, {"aspp_rates": ()}, {"decoder_width": 2.5}, {"disk_radius": 0}, {"pred_thr": 1.0},
    {"freeze_norm": 1},
])
def test_impossible_configs_are_refused(changes):
    with pytest.raises(ValueError):
        NetworkConfig(**changes)


@pytest.mark.parametrize("model", ["mobilenet_v2", "resnet50"], indirect=True)
def test_frozen_norms_survive_a_checkpoint_and_training_mode(uneven, tmp_path):
    uneven.config = dataclasses.replace(uneven.config, freeze_norm=True)
    save_model(uneven, tmp_path / "some.pth")
    model = ISModel()
    model.restore_from_checkpoint(tmp_path / "some.pth", CPU)
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model.train()
    with torch.no_grad():
        for seed in range(20):
            image = torch.rand(2, 4, 32, 32, generator=torch.Generator().manual_seed(seed))
            model(image, torch.full((2, 2, 3), -1.0))
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())
    assert model.decoder.training and model.aspp.training


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
