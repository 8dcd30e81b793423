"""Networks, losses, weights and masks of utils/segment/segmentation.py."""
from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch
import torchvision
from segment_helpers import SMALL

from utils.segment import segmentation
from utils.segment.segmentation import (
    ENCODERS,
    IGNORED,
    LOSSES,
    RATIOS,
    ConceptModel,
    Recipe,
    SegmentationError,
    Settings,
    canvas,
    clean_up,
    fold_norms,
    get_model,
    iou,
    load_model,
    loss_of,
    nearest_ratio,
    probabilities,
    save_model,
)

EVERY = [Settings(network="encoder_decoder"), Settings(network="unet", norm="instance", hypercolumns=False),
         Settings(network="deeplabv3_mobilenet_v3_large"), *(Settings(encoder=name) for name in ENCODERS)]


def name(settings: Settings) -> str:
    return f"{settings.network}-{settings.encoder}-{settings.norm}"


@pytest.mark.parametrize("settings", EVERY, ids=name)
def test_every_network_gives_logits_of_the_input_s_size_and_trains_all_of_itself(settings):
    model = ConceptModel(settings)
    logits = model(torch.rand(2, 3, 64, 96))
    assert logits.shape == (2, 1, 64, 96) and logits.dtype == torch.float32
    logits.square().mean().backward()
    idle = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not idle


def test_the_unet_is_the_encoder_decoder_with_skips_and_nothing_else():
    plain, unet = (get_model(Settings(network=name, hypercolumns=False)) for name in ("encoder_decoder", "unet"))
    shapes, others = ({key: value.shape for key, value in model.named_parameters()} for model in (plain, unet))
    assert shapes.keys() == others.keys()
    wider = {key for key in shapes if shapes[key] != others[key]}
    assert wider == {f"network.decoder.{block}.0.weight" for block in range(4)}
    assert all(shapes[key][0] == others[key][0] and shapes[key][1] < others[key][1] for key in wider)


def test_hypercolumns_bring_every_decoder_block_to_the_head():
    def reaching(hypercolumns: bool) -> set[int]:
        model = ConceptModel(Settings(network="unet", hypercolumns=hypercolumns))
        reached = set()
        for number, block in enumerate(model.network.decoder):
            block.register_full_backward_hook(lambda _, __, grads, n=number: reached.add(n))
        # cut the way through the following blocks
        for block in model.network.decoder[1:]:
            block.register_forward_pre_hook(lambda _, inputs: (inputs[0].detach().requires_grad_(),))
        model(torch.rand(1, 3, 64, 64)).sum().backward()
        return reached

    assert reaching(True) == {0, 1, 2, 3} and reaching(False) == {3}


def test_the_encoder_starts_from_a_classifier_s_file(tmp_path):
    torch.save(torchvision.models.mobilenet_v2().state_dict(), tmp_path / "classifier.pth")
    model = ConceptModel(Settings(), tmp_path / "classifier.pth")
    expected = torch.load(tmp_path / "classifier.pth", weights_only=True)["features.17.conv.0.0.weight"]
    assert torch.equal(dict(model.named_parameters())["network.stages.4.17.conv.0.0.weight"], expected)
    with pytest.raises(SegmentationError, match="classifier.pth does not fit torchvision's resnet18"):
        ConceptModel(Settings(encoder="resnet18"), tmp_path / "classifier.pth")


def test_weights_that_cant_be_downloaded_are_named(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torchvision.models, "mobilenet_v2", refuse)
    with pytest.raises(SegmentationError, match="ImageNet weights of mobilenet_v2 can't be downloaded"):
        ConceptModel(Settings(), "download")


@pytest.mark.parametrize("settings", [SMALL, Settings(encoder="resnet18", norm="instance", size=96)], ids=name)
def test_a_model_without_arguments_becomes_what_was_saved(settings, tmp_path):
    torch.manual_seed(3)
    saved = ConceptModel(settings).eval()
    save_model(saved, tmp_path / "model.pth")
    state = torch.load(tmp_path / "model.pth", map_location="cpu", weights_only=True)
    assert type(state).__name__ in ("dict", "OrderedDict") and all(isinstance(v, torch.Tensor) for v in state.values())
    assert (tmp_path / "model.pth").stat().st_size < 25e6 and not list(tmp_path.glob("*.tmp"))
    model = get_model()
    model.load_state_dict(state)
    assert model.settings == settings
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    assert np.abs(probabilities(model, image) - probabilities(saved, image)).max() < 0.01  # half precision
    assert np.array_equal(probabilities(model, image), probabilities(load_model(tmp_path / "model.pth"), image))


@pytest.mark.parametrize("settings", EVERY[:5], ids=name)
def test_folded_norms_change_no_mask(settings):
    torch.manual_seed(1)
    model = ConceptModel(settings)
    for _ in range(3):
        model(torch.rand(4, 3, 64, 64))  # statistics of their own
    image = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    before = probabilities(model, image)
    fold_norms(model)
    assert np.abs(probabilities(model, image) - before).max() < 1e-4
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()) <= 1  # the head's stays


def test_numbers_next_to_nothing_are_not_saved(tmp_path, small_model):
    weight = small_model.network.head[-1].weight
    weight.data.fill_(1e-30)
    save_model(small_model, tmp_path / "model.pth")
    assert not load_model(tmp_path / "model.pth").network.head[-1].weight.any()


def test_what_is_no_model_is_named(tmp_path, small_model):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("not weights", encoding="utf-8")
    state = small_model.state_dict()
    torch.save({key: value for key, value in state.items() if "head" not in key}, tmp_path / "part.pth")
    for file in ("other", "list", "text", "part", "missing"):
        with pytest.raises(SegmentationError, match=f"{file}.pth") as caught:
            load_model(tmp_path / f"{file}.pth")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"network": "vgg"}, {"encoder": "x"}, {"norm": "layer"}, {"size": 8}])
def test_settings_that_cant_be_are_refused(wrong):
    with pytest.raises(SegmentationError, match="choose"):
        Settings(**wrong)


@pytest.mark.parametrize("wrong", [{"loss": "bce+x"}, {"augmentations": ("spin",)}, {"minutes": 0}, {"batch_size": 1}])
def test_recipes_that_cant_be_are_refused(wrong):
    with pytest.raises(SegmentationError):
        Recipe(**wrong)


# ---------------------------------------------------------------------------------------------- losses


def masks(seed: int, count: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    noise = [cv2.GaussianBlur(rng.normal(size=(24, 24)), (0, 0), 3) for _ in range(count)]
    return torch.tensor(np.stack(noise)[:, None] > 0).float()


@pytest.mark.parametrize("loss", [*LOSSES, "bce+dice", "focal+lovasz"])
def test_losses_fall_to_nothing_as_the_prediction_gets_right(loss):
    truth = masks(0)
    signs = 2 * truth - 1
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    steps = [loss_of(loss, (-1 + 2 * part) * 9 * signs + noise, truth).item() for part in (0, 0.3, 0.7, 1)]
    assert steps == sorted(steps, reverse=True) and steps[-1] < 0.02 < steps[0]


def test_the_lovasz_hinge_of_decided_pixels_is_twice_the_lost_iou():
    truth, predicted = masks(1), masks(2)
    lost = [1 - iou(t.numpy() > 0, p.numpy() > 0) for t, p in zip(truth, predicted, strict=True)]
    assert LOSSES["lovasz"](2 * predicted - 1, truth).item() == pytest.approx(2 * np.mean(lost), abs=1e-5)


def test_the_focal_loss_weighs_object_and_background_alike():
    logits = torch.full((1, 1, 4, 4), 0.7)
    object_, background = (LOSSES["focal"](sign * logits, torch.full_like(logits, truth)).item()
                           for sign, truth in ((1, 1.0), (-1, 0.0)))
    assert object_ == pytest.approx(background)


@pytest.mark.parametrize("loss", LOSSES)
def test_an_empty_mask_is_data_and_ignored_pixels_teach_nothing(loss):
    truth = masks(3).to(torch.uint8)
    truth[0] = 0
    truth[:, :, :8] = IGNORED
    logits = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
    value = loss_of(loss, logits, truth)
    value.backward()
    assert torch.isfinite(value) and logits.grad[:, :, 8:].abs().sum() > 0 and not logits.grad[:, :, :8].any()
    other = logits.detach().clone()
    other[:, :, :8] = 40
    assert loss_of(loss, other, truth).item() == pytest.approx(value.item())


# ---------------------------------------------------------------------------------------------- masks and sizes


def test_clean_up_drops_small_objects_and_fills_small_holes_only():
    mask = np.zeros((40, 60), bool)
    mask[5:35, 5:35] = True  # 900 pixels
    mask[10:12, 10:12] = False  # a small hole
    mask[20:32, 20:32] = False  # a large one
    mask[5:9, 50:54] = True  # 16 pixels
    mask[20:35, 45:58] = True  # 195 pixels
    cleaned = clean_up(mask, 0.1)
    expected = mask.copy()
    expected[10:12, 10:12] = True
    expected[5:9, 50:54] = False
    assert np.array_equal(cleaned, expected)
    notched = np.ones((20, 20), bool)
    notched[0, 3] = False  # background at the edge is no hole
    assert np.array_equal(clean_up(notched, 0.5), notched)
    assert not clean_up(np.zeros((9, 9), bool), 0.5).any() and clean_up(np.ones((9, 9), bool), 0.5).all()


@pytest.mark.parametrize("height,width", [(240, 320), (320, 240), (500, 333), (100, 1000), (64, 64), (1, 400)])
def test_photos_of_any_shape_reach_the_network_in_few_shapes(height, width):
    ratio = nearest_ratio(height, width)
    sides = canvas(ratio, 256)
    assert all(side % 32 == 0 and side >= 64 for side in sides)
    assert 0.7 < sides[0] * sides[1] / 256**2 < 1.4
    others = [abs(np.log(height / width / other)) for other in RATIOS]
    assert int(np.argmin(others)) == ratio


def test_flip_averages_and_keeps_a_mirrored_photo_mirrored(small_model):
    image = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    once, flipped = (probabilities(small_model, image, flip) for flip in (False, True))
    mirrored = probabilities(small_model, np.ascontiguousarray(image[:, ::-1]), True)
    assert np.abs(flipped - mirrored[:, ::-1]).max() < 1e-5 < np.abs(flipped - once).max()
    assert flipped.dtype == np.float32 and flipped.shape == (48, 64) and 0 <= flipped.min() <= flipped.max() <= 1


def test_settings_travel_as_plain_json(small_model):
    text = bytes(small_model.state_dict()["_extra_state"].tolist()).decode("utf-8")
    assert all(str(value) in text or str(value).lower() in text for value in dataclasses.asdict(SMALL).values())
    assert segmentation.settings_of(small_model.state_dict()) == SMALL
