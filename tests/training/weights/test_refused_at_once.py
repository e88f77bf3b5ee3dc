"""What is of no use is refused in words, and no MindSpore or Hydra is imported for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from data_tools.core.errors import CheckpointError
from tests.helpers.checkpoints import random_weights
from tests.helpers.donors import flat
from tests.helpers.torch_files import torch_file
from training.checkpoints.backbone_fit import misfit
from training.checkpoints.signatures import backbone_shapes
from training.checkpoints.weight_files import refuse_page, save_weights

SCRIPT = """
import sys, time
from training.weights.__main__ import main
slow = {"mindspore", "hydra", "omegaconf"}
for file in sys.argv[1:]:
    start = time.process_time()
    try:
        code = main(["verify", file])
    except SystemExit as end:
        code = end.code
    assert code, file
    assert time.process_time() - start < 1, file
    assert not slow & set(sys.modules), file
"""


def bad_files(folder: Path) -> dict[str, str]:
    """Write a file of every kind; returns what is to be said of each."""
    weights = random_weights("ssd_tiny", 4)
    save_weights(weights, folder / "whole.ckpt")
    whole = (folder / "whole.ckpt").read_bytes()
    first = next(iter(weights))
    save_weights({**weights, first: weights[first] * np.nan}, folder / "nan.ckpt")
    save_weights({n: v for n, v in weights.items() if n != first}, folder / "lacks.ckpt")
    save_file({"a": np.array([np.inf], np.float32)}, folder / "inf.safetensors")
    (folder / "half.ckpt").write_bytes(whole[: len(whole) // 2])
    (folder / "twice.ckpt").write_bytes(whole + whole)
    (folder / "page.ckpt").write_bytes(b"\xef\xbb\xbf<!-- wait --><html></html>")
    (folder / "object.pth").write_bytes(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.")
    (folder / "deep.pth").write_bytes(torch_file(deeper()))
    return {
        "whole.ckpt": "its hash is not in the registry",
        "nan.ckpt": "is not finite",
        "lacks.ckpt": f"1 weights missing, the first {first}",
        "inf.safetensors": "is not finite",
        "half.ckpt": "it ends within a weight",
        "twice.ckpt": "twice: nobody can say",
        "page.ckpt": "is a page of text",
        "object.pth": "posix.system|not torch's",
        "deep.pth": "no use",
    }


def deeper() -> dict[str, np.ndarray]:
    """All of MobileNetV2 as torchvision names it, and a layer more."""
    return flat("mobilenet_v2.torchvision") | {"features.18.3.weight": np.ones(3, np.float32)}


def test_bad_files_take_no_second_and_no_mindspore(tmp_path: Path, repository: Path) -> None:
    words = bad_files(tmp_path)
    files = [str(tmp_path / name) for name in words]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *files], cwd=repository, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for name, text in words.items():
        said = next(
            line
            for line in (done.stdout + done.stderr).split(str(tmp_path) + "/")
            if line.startswith(name)
        )
        assert any(part in said for part in text.split("|")), said


def test_a_deeper_or_wider_backbone_is_another_one() -> None:
    assert "features.18.3.weight is of no layer of mobilenet_v2" in misfit("mobilenet_v2", deeper())
    resnet101 = flat("resnet50.timm") | {"layer3.6.bn1.bias": np.ones(256, np.float32)}
    assert "layer3.6.bn1.bias is of no layer of resnet50" in misfit("resnet50", resnet101)
    wide = {n: np.zeros(s, np.float32) for n, s in backbone_shapes("resnet50").items()}
    assert misfit("resnet50", wide) == ""
    wide["layer1.0.conv2.weight"] = np.zeros((128, 128, 3, 3), np.float32)
    assert "layer1.0.conv2.weight has shape (128, 128, 3, 3)" in misfit("resnet50", wide)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\n <HEAD><title>Sign in</title>", "page of text"),
        (b'{"message": "Not Found"}', "page of text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab", "pointer of Git LFS"),
    ],
)
def test_pages_and_pointers_are_named(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        refuse_page(tmp_path / "a.ckpt")
