"""The README's section "Your own pictures", run as it is written."""
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision

ROOT = Path(__file__).resolve().parents[1]
SCENES = ROOT / "tests" / "00_sample_input"
SHORT = "--samples 48 --resolutions [[0,64]] --workers 1"  # behind what the README says


def commands() -> list[str]:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("### Your own pictures")[1]
    block = re.search(r"```bash\n(.*?)```", section, re.DOTALL)[1]
    return [line.split("  #")[0].strip() for line in block.splitlines()]


@pytest.mark.parametrize("end", [1, 2], ids=["from the classifier", "fine-tuned"])
def test_own_pictures_take_two_commands(tmp_path, end):
    convert, train = commands()[0], commands()[end]
    torch.save(torchvision.models.mobilenet_v2().state_dict(), tmp_path / "classifier.pth")
    source = "" if "--start" in train else "--pretrained classifier.pth"
    names = {"IMAGES": SCENES / "imgs", "MASKS": SCENES / "masks", "checkpoint.pth": ROOT / "checkpoint.pth",
             "solution.py": ROOT / "solution.py"}
    for command in (f"{convert} --jobs 1", f"{train} {source} {SHORT}"):
        words = [str(names.get(word, word)) for word in shlex.split(command)[1:]]
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=600,
                              env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "experiments" / "checkpoints" / "last_checkpoint.pth").is_file()
    assert re.search(r"photos: +\d+ of MINE, [1-9]\d* held out", done.stdout), done.stdout
    assert re.search(r"before( +0?\.\d+){3}\nafter", done.stdout), done.stdout
