"""The layers of the backbones, as the tables of their papers give them.

Plain numbers: what names layers, in `training/checkpoints/`, needs them without MindSpore, whose
import takes seconds. The networks are made of them in the modules called as they are.
"""

from __future__ import annotations

V1_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
"""Channels and stride of the depthwise-separable blocks (arXiv:1704.04861, table 1)."""

V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Widening, channels, blocks and first stride of each stage (arXiv:1801.04381, table 2)."""

# Kernel, widened channels, channels out, squeeze-and-excite, hard swish, stride
# (arXiv:1905.02244, table 1; the last three rows with half the channels, as in its section 6.3).
V3_BEFORE_TAP = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
)
V3_TAP_BLOCK = (5, 672, 80, True, True, 2)
"""The block whose widened input is the first feature map, with the halved tail."""
V3_TAP_CHANNELS = 672
V3_AFTER_TAP = 2
"""Blocks after that one, of the same kind; each widens six times."""

RESNET50_STAGES = ((3, 256, 1), (4, 512, 2), (6, 1024, 2), (3, 2048, 2))
"""Blocks, channels out and first stride of each stage (arXiv:1512.03385, table 1)."""

VGG16_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the 3x3 convolutions of each block (arXiv:1409.1556, configuration D)."""
