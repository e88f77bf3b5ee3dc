"""Makes `donor_*.npz` and `donor_names.json`: what torchvision, timm and mindcv compute with
weights filled by name.

    python -m venv /somewhere/torch
    /somewhere/torch/bin/pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31
    /somewhere/torch/bin/python tests/golden/make_donor_goldens.py torch
    python tests/golden/make_donor_goldens.py mindcv        (with mindcv 0.3.0 on PYTHONPATH)

None of them is a dependency of this project; the tests read only the numbers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from donor_filling import fill, picture, sample

HERE = Path(__file__).resolve().parent
SIDE = 96
"""Of the pictures that backbones see."""


def add_names(names: dict[str, dict[str, list[int]]]) -> None:
    path = HERE / "donor_names.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**old, **names}, separators=(",", ":"), sort_keys=True) + "\n")


def network_input(mean: list[float], std: list[float], side: int = SIDE) -> np.ndarray:
    pixels = picture(side, side).astype(np.float32)
    return ((pixels - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1)[None]


IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
HALF = ([127.5] * 3, [127.5] * 3)


def fill_torch(model) -> dict[str, list[int]]:
    import torch

    state = model.state_dict()
    model.load_state_dict(
        {n: torch.from_numpy(np.array(fill(n, tuple(v.shape)))) for n, v in state.items()}
    )
    model.eval()
    return {n: list(v.shape) for n, v in state.items()}


def torch_backbones() -> None:
    import timm
    import torch
    import torchvision

    tv = torchvision.models
    pool = torch.nn.MaxPool2d(3, 1, 1)
    cases = {
        "mobilenet_v2.torchvision": (tv.mobilenet_v2, IMAGENET,
                                     lambda m: (m.features[14].conv[0], m.features[18])),
        "mobilenet_v3_large.torchvision": (
            tv.mobilenet_v3_large, IMAGENET, lambda m: (m.features[13].block[0], m.features[16])),
        "resnet50.torchvision": (tv.resnet50, IMAGENET, lambda m: (m.layer2, m.layer3, m.layer4)),
        "vgg16.torchvision": (tv.vgg16, IMAGENET, lambda m: (m.features[22], m.features[29])),
        "mobilenet_v1.timm": (
            lambda: timm.create_model("mobilenetv1_100"), HALF,
            lambda m: (m.blocks[3][1], m.blocks[4][1])),
        "mobilenet_v2.timm": (
            lambda: timm.create_model("mobilenetv2_100"), IMAGENET,
            lambda m: (m.blocks[5][0].bn1, m.bn2)),
        "mobilenet_v3_large.timm": (
            lambda: timm.create_model("mobilenetv3_large_100"), IMAGENET,
            lambda m: (m.blocks[5][0].bn1, m.blocks[6])),
        "resnet50.timm": (lambda: timm.create_model("resnet50"), IMAGENET,
                          lambda m: (m.layer2, m.layer3, m.layer4)),
        "vgg16.timm": (lambda: timm.create_model("vgg16"), IMAGENET,
                       lambda m: (m.features[22], m.features[29])),
    }  # fmt: skip
    goldens, names = {}, {}
    for name, (make, (mean, std), taps) in cases.items():
        model = make()
        names[name] = fill_torch(model)
        found = []
        for layer in taps(model):
            layer.register_forward_hook(
                lambda _m, _i, out, found=found: found.append(out.detach().clone())
            )
        with torch.no_grad():
            model(torch.from_numpy(network_input(mean, std)))
        if name.startswith("vgg16"):
            found[1] = pool(found[1])
        for k, value in enumerate(found):
            goldens[f"{name}/{k}"] = sample(value.numpy())
            goldens[f"{name}/{k}/shape"] = np.array(value.shape)
        print(name, [tuple(v.shape) for v in found], [float(v.abs().max()) for v in found])
    np.savez_compressed(HERE / "donor_backbones_torch.npz", **goldens)
    add_names(names)


def torch_detectors() -> None:
    import torch
    from torchvision.models import detection

    for name in ("ssdlite320_mobilenet_v3_large", "ssd300_vgg16"):
        model = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=91)
        names = fill_torch(model)
        side = model.transform.min_size[0]
        pixels = torch.from_numpy(picture(side, side).astype(np.float32) / 255).permute(2, 0, 1)
        with torch.no_grad():
            images, _ = model.transform([pixels])
            features = list(model.backbone(images.tensors).values())
            raw = model.head(features)
            anchors = model.anchor_generator(images, features)[0]
            found = model([pixels])[0]
        regression = raw["bbox_regression"][0].numpy()
        logits = raw["cls_logits"][0].numpy()
        print(name, regression.shape, logits.shape, np.abs(regression).max(), np.abs(logits).max(),
              len(found["scores"]), found["scores"][:3])  # fmt: skip
        np.savez_compressed(
            HERE / f"donor_{name}.npz",
            anchors_xyxy_px=anchors.numpy(),
            regression=regression,
            logits=logits[::29],
            boxes=found["boxes"].numpy(),
            scores=found["scores"].numpy(),
            labels=found["labels"].numpy(),
            settings=np.array(
                [
                    model.score_thresh,
                    model.nms_thresh,
                    model.topk_candidates,
                    model.detections_per_img,
                ]
            ),
        )
        add_names({name: names})


def mindcv_backbones() -> None:
    import mindspore as ms
    from mindcv.models import mobilenetv1, mobilenetv2, mobilenetv3, resnet, vgg

    cases = {
        "mobilenet_v1.mindcv": (mobilenetv1.mobilenet_v1_100, ["features.9", "features.15"]),
        "mobilenet_v2.mindcv": (
            mobilenetv2.mobilenet_v2_100,
            ["features.16.layers.2", "features.22"],
        ),
        "mobilenet_v3_large.mindcv": (
            mobilenetv3.mobilenet_v3_large_100,
            ["features.15.layers.2", "features.20"],
        ),
        "resnet50.mindcv": (resnet.resnet50, ["layer2", "layer3", "layer4"]),
        "vgg16.mindcv": (vgg.vgg16, ["features.22", "features.29"]),
    }
    goldens, names = {}, {}
    for name, (make, taps) in cases.items():
        model = make().set_train(False)
        names[name] = {p.name: list(p.shape) for p in model.get_parameters()}
        for parameter in model.get_parameters():
            parameter.set_data(ms.Tensor(fill(parameter.name, tuple(parameter.shape))))
        found: dict[str, ms.Tensor] = {}
        for tap in taps:
            cell = dict(model.cells_and_names())[tap]
            cell.register_forward_hook(
                lambda _c, _i, out, tap=tap, found=found: found.__setitem__(tap, out.asnumpy())
            )
        model.forward_features(ms.Tensor(network_input(*IMAGENET)))
        values = [found[tap] for tap in taps]
        if name.startswith("vgg16"):
            values[1] = ms.nn.MaxPool2d(3, 1, pad_mode="same")(ms.Tensor(values[1])).asnumpy()
        for k, value in enumerate(values):
            goldens[f"{name}/{k}"] = sample(value)
            goldens[f"{name}/{k}/shape"] = np.array(value.shape)
        print(name, [v.shape for v in values], [float(np.abs(v).max()) for v in values])
    np.savez_compressed(HERE / "donor_backbones_mindcv.npz", **goldens)
    add_names(names)


if __name__ == "__main__":
    if sys.argv[1:] == ["mindcv"]:
        mindcv_backbones()
    else:
        torch_backbones()
        torch_detectors()
