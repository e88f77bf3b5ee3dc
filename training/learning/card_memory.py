"""Whether a step fits into a card's memory, from MindSpore's own estimates in its dry run.

`docs/ascend.md` holds the same figures as a table; `tests/ascend/test_dry_run.py` measures them
anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from data_tools.core.errors import SettingError
from training.nets.settings import model_settings
from training.process.ascend_host import CardUse
from training.settings import TrainSettings

PEAK_GB = {
    "ssd300": (32, 2.5),
    "ssd_mobilenet_v1": (32, 2.1),
    "ssd_mobilenet_v1_fpn": (32, 16.2),
    "ssd_resnet50_fpn": (32, 19.3),
    "ssd_vgg16": (32, 3.1),
    "ssd300_vgg16": (32, 2.6),
    "ssdlite_mobilenet_v3": (24, 1.4),
    "ssd_light": (32, 3.2),
}
"""Images of a step, and the peak of its memory in 2**30 bytes: fp16 with `runtime.half_norms`,
jit_level O1."""

FLOAT32_TIMES = 2.0
"""What float32 activations take of that: with norms in float32 it was 5.2 GB for ssd300, 37.1 for
ssd_resnet50_fpn."""

RESERVED_GB = 4.0
"""What a card keeps for itself, for HCCL's buffers, and for what lies between the tensors."""


def memory_needed(settings: TrainSettings) -> float | None:
    """Estimate the peak of a step's memory on a card in 2**30 bytes; None for a network not
    measured.

    In proportion to the images that are computed at a time and to their pixels, of the largest size
    that is drawn: weights, moments and gradients are a small part of it.
    """
    known = PEAK_GB.get(settings.model.name)
    if known is None:
        return None
    images, gigabytes = known
    wide = settings.runtime.precision == "fp32" or not settings.runtime.half_norms
    times = FLOAT32_TIMES if wide else 1.0
    sizes = [settings.model.image_size, *settings.augment.sizes]
    pixels = max(height * width for height, width in sizes)
    height, width = model_settings(settings.model.name).image_size
    times *= pixels / (height * width)
    return gigabytes * times * settings.batch_size / settings.optim.accumulate / images


def check_memory(settings: TrainSettings, index: int, cards: Sequence[CardUse]) -> None:
    """Refuse a step that does not fit, before anything is compiled.

    Args:
        settings: The run.
        index: The card.
        cards: What npu-smi says; nothing is checked where it does not know the card.

    Raises:
        SettingError: If it does not fit; it names what would.
    """
    needed = memory_needed(settings)
    card = next((card for card in cards if card.index == index), None)
    if needed is None or card is None or not card.total_mb:
        return
    available_gb = card.total_mb / 1024 - RESERVED_GB
    if needed <= available_gb:
        return
    accumulate = settings.optim.accumulate
    parts = next(
        (k for k in range(accumulate + 1, settings.batch_size + 1)
         if settings.batch_size % k == 0 and needed * accumulate / k <= available_gb),
        None,
    )  # fmt: skip
    fits = int(settings.batch_size * available_gb / needed)
    ways = []
    if parts is not None and not settings.runtime.sink_steps:
        ways.append(f"optim.accumulate={parts} (the same step with model.norm=frozen only)")
    if fits >= 1:
        ways.append(f"batch_size={fits}")
    if settings.runtime.precision == "fp32":
        ways.append("runtime.precision=fp16")
    raise SettingError(
        f"batch_size={settings.batch_size}: a step of {settings.model.name} takes about "
        f"{needed:.0f} GB by MindSpore's estimate, card {index} has {card.total_mb / 1024:.0f} GB "
        f"and needs {RESERVED_GB:.0f} of them itself. Use "
        f"{' or '.join(ways) or 'a smaller network'}; docs/ascend.md has the table."
    )
