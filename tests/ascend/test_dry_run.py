"""The training step, evaluation and prediction as MindSpore's own Ascend backend compiles them,
without a card.

What this shows: graphs compile, every primitive has an Ascend kernel for its types or the name of
one, nothing falls back to the CPU, no float64 and no dynamic shape, how many kernels the host
starts, how much memory MindSpore plans. What it does not show: CANN's own checks and compiling,
HCCL's links, time on a card, any number.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ascend.stage import REPOSITORY, Stage, check
from tests.ascend.stand_ins.build import build
from tests.helpers.run_helpers import make_set

pytestmark = pytest.mark.ascend

# Recipe, and the most kernels that its step may take: what was counted, and a little more.
ZOO = {
    "coco": 1500,
    "coco_mobilenet_v1": 970,
    "coco_mobilenet_v1_fpn": 1360,
    "coco_resnet50_fpn": 1780,
    "coco_vgg16": 690,
    "coco_ssdlite": 1765,
}
# Networks without a recipe of their own, at the usual batch.
OTHERS = {
    "ssd300_vgg16": (["loss=multibox", "batch_size=32"], 540),
    "ssd_light": (["loss=varifocal", "batch_size=32"], 900),
}
TINY = ["model=ssd_tiny", "augment=light", "optim.clip_norm=10", "optim.ema=0.998",
        "runtime=ascend", "model.image_size=[128,128]", "batch_size=4"]  # fmt: skip
# Every setting that changes the graph, each with those beside it that it can be combined with.
STEPS = {
    "as it is": [],
    "fp32": ["runtime.precision=fp32"],
    "bf16": ["runtime.precision=bf16"],
    "kernel by kernel": ["runtime.jit_level=O0", "runtime.half_norms=false"],
    "multibox": ["loss=multibox", "model.scores=softmax", "optim.decay=weights"],
    "frozen norms, factors": ["model.norm=frozen", "optim.lr_factors={backbone: 0.1}"],
    "freeze, nesterov": ["optim.freeze=[backbone]", "optim.nesterov=true", "optim.ema=null"],
    "adamw": ["optim=adamw", "optim.lr_factors={backbone: 0.1}", "optim.clip_norm=1"],
    "corrected norms": ["optim.norm_correction=true", "optim.freeze=[stem*]"],
    "bins": ["model=ssd_light", "model.box_bins=8", "loss=varifocal", "model.max_boxes=20"],
    "quality, ciou": ["loss.kind=quality", "loss.box=ciou"],
    "tal, diou": ["model.assign=tal", "model.max_boxes=20", "loss.kind=focal", "loss.box=diou"],
    "parts": ["optim.accumulate=2", "optim.clip_norm=null"],
}
RANKS = {
    "one bucket": ["model.norm=sync"],
    "many buckets": ["runtime.bucket_mb=0.25"],
    "a bucket a tensor": ["runtime.bucket_mb=0", "runtime.jit_level=O0"],
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    stand_ins = Path(os.environ.get("SSD_STAND_INS", REPOSITORY / "build" / "ascend"))
    print(build(stand_ins))
    return Stage(stand_ins, tmp_path_factory.mktemp("dry"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "data", 8, 2)


def test_train_resume_evaluate_predict(stage: Stage, data: Path, tmp_path: Path) -> None:
    run = [*TINY, f"data={data}", f"output={tmp_path / 'run'}", "runtime.nonfinite=skip",
           "log.tensorboard=false"]  # fmt: skip
    for words in (["max_steps=1", "evaluate_at_end=false"], ["max_steps=2", "resume=true"]):
        dry = stage.run("train.py", *run, *words)
        assert dry.code == 0, dry.text[-3000:]
        check(dry)
    checkpoint = f"checkpoint={tmp_path / 'run/checkpoints/step-00000002.ckpt'}"
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "one.jpg").write_bytes(picture())
    for words in (
        ["eval.py", checkpoint, f"data={data}", f"output={tmp_path / 'eval'}", "device=Ascend"],
        ["predict.py", checkpoint, f"images={tmp_path / 'pictures'}", f"out={tmp_path / 'out'}",
         "device=Ascend"],
    ):  # fmt: skip
        dry = stage.run(*words)
        assert dry.code == 0, dry.text[-3000:]
        check(dry)


@pytest.mark.parametrize("recipe", ZOO)
def test_every_network_at_its_recipe_batch(
    stage: Stage, recipe: str, record_property: Callable[[str, object], None]
) -> None:
    dry = stage.step(
        f"+experiment={recipe}", "runtime=ascend", SSD_DRY_STEPS="5" if recipe == "coco" else "1"
    )
    graphs, told = dry.graphs, dry.report()
    assert graphs is not None
    record_property(
        "figures",
        f"{recipe}: {graphs.count} kernels a step, {told['step_seconds']} s of the host for it "
        f"here, {told['launch_seconds']} s of them in the thread that starts kernels, "
        f"{told['memory_mb'] / 1024:.1f} GB, {told['compile_cpu_seconds']} s of a core to "
        f"compile; {graphs.kinds().most_common(8)}",
    )
    assert graphs.count <= ZOO[recipe]
    assert told["memory_mb"] > 100


@pytest.mark.parametrize("name", OTHERS)
def test_networks_without_a_recipe(
    stage: Stage, name: str, record_property: Callable[[str, object], None]
) -> None:
    words, most = OTHERS[name]
    dry = stage.step(f"model={name}", *words, "runtime=ascend")
    assert dry.graphs is not None
    record_property(
        "figures",
        f"{name}: {dry.graphs.count} kernels a step, {dry.report()['memory_mb'] / 1024:.1f} GB",
    )
    assert dry.graphs.count <= most


def test_no_network_of_the_zoo_is_left_out() -> None:
    from training.nets.settings import zoo_names

    recipes = " ".join((REPOSITORY / f"conf/experiment/{name}.yaml").read_text() for name in ZOO)
    covered = {name for name in zoo_names() if f"/model: {name}\n" in recipes}
    assert covered | set(OTHERS) | {"ssd_tiny"} == set(zoo_names())


@pytest.mark.parametrize("name", STEPS)
def test_every_setting_that_changes_the_graph(stage: Stage, name: str) -> None:
    stage.step(*TINY, *STEPS[name])


@pytest.mark.parametrize("name", RANKS)
def test_one_of_eight_ranks(stage: Stage, name: str) -> None:
    dry = stage.step(*TINY, *RANKS[name], RANK_SIZE="8", RANK_ID="0")
    assert dry.graphs is not None
    assert dry.graphs.kinds()["AllReduce"] >= 1


@pytest.mark.parametrize("cores", [4, 8])
def test_few_host_cores(stage: Stage, cores: int) -> None:
    """Below 12 cores MindSpore refuses control flow within a step."""
    stage.step(*TINY, cores=cores)


def test_a_card_is_started_twice_in_a_process(stage: Stage) -> None:
    """As by a second Detector.load; MindSpore refuses to be told twice that it should be
    deterministic.
    """
    code = (
        "from training.process.runtime import prepare_environment, start_device; "
        "prepare_environment()\n"
        "from training.process.settings import RuntimeSettings\n"
        "for precision in ('fp32', 'fp16'):\n"
        "    start_device(RuntimeSettings(device='Ascend', precision=precision))\n"
        "import mindspore as ms; print(ms.Tensor([1.0]) * 2.0, 'started twice')\n"
    )
    dry = stage.run("-c", code)
    assert dry.code == 0, dry.text[-2000:]
    assert "started twice" in dry.text


def test_sunk_steps(stage: Stage, data: Path, tmp_path: Path) -> None:
    dry = stage.run(
        "train.py", *TINY, f"data={data}", f"output={tmp_path / 'run'}", "runtime.sink_steps=2",
        "max_steps=2", "evaluate_at_end=false", "log.tensorboard=false",
    )  # fmt: skip
    # Every number is zero, so no step counts as finite and the run ends by saying so.
    assert "the gradient is not finite" in dry.text or dry.code == 0, dry.text[-3000:]
    check(dry)
    assert dry.graphs is not None
    assert dry.graphs.kinds()["GetNext"] == 1


def picture() -> bytes:
    import cv2
    import numpy as np

    return cv2.imencode(".jpg", np.full((90, 120, 3), 127, np.uint8))[1].tobytes()


# Controls: what the checks above must find when it is there.


@pytest.mark.parametrize(
    ("control", "finding"),
    [
        ("float64_convolution", "Conv2D.*(type|support)|not support"),
        ("float64_product", "computes in float64"),
        ("python_function", "falls back to the CPU"),
        ("dynamic_shape", "has a dynamic shape|not support dynamic shape"),
        ("branch", "is control flow|ConditionSwitch"),
        ("none", "^$"),
    ],
)
def test_controls_are_found(stage: Stage, control: str, finding: str) -> None:
    import re

    dry = stage.run("-m", "tests.ascend.controls", control)
    problems = dry.graphs.problems() if dry.graphs is not None else []
    said = "\n".join(problems) if dry.code == 0 else dry.text
    assert re.search(finding, said), f"{problems}\n{dry.text[-2000:]}"
    assert (dry.code == 0 and not problems) == (control == "none")


def test_the_budget_is_one_that_can_be_exceeded(stage: Stage) -> None:
    few = stage.run("-m", "tests.ascend.controls", "none").graphs
    many = stage.run("-m", "tests.ascend.controls", "many_kernels").graphs
    assert few is not None
    assert many is not None
    assert few.count < 10 < 100 <= many.count
