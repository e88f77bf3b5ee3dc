"""The classes of COCO in the order of the published models' labels, ours and torchvision's: for
checkpoints without a card.

Everything else takes its classes from the manifest of a data set or from a checkpoint's card.
"""

from __future__ import annotations

from data_tools.core.sample import ClassInfo

# fmt: off
_CATEGORIES = (
    (1, "person"), (2, "bicycle"), (3, "car"), (4, "motorcycle"), (5, "airplane"), (6, "bus"),
    (7, "train"), (8, "truck"), (9, "boat"), (10, "traffic light"), (11, "fire hydrant"),
    (13, "stop sign"), (14, "parking meter"), (15, "bench"), (16, "bird"), (17, "cat"),
    (18, "dog"), (19, "horse"), (20, "sheep"), (21, "cow"), (22, "elephant"), (23, "bear"),
    (24, "zebra"), (25, "giraffe"), (27, "backpack"), (28, "umbrella"), (31, "handbag"),
    (32, "tie"), (33, "suitcase"), (34, "frisbee"), (35, "skis"), (36, "snowboard"),
    (37, "sports ball"), (38, "kite"), (39, "baseball bat"), (40, "baseball glove"),
    (41, "skateboard"), (42, "surfboard"), (43, "tennis racket"), (44, "bottle"),
    (46, "wine glass"), (47, "cup"), (48, "fork"), (49, "knife"), (50, "spoon"), (51, "bowl"),
    (52, "banana"), (53, "apple"), (54, "sandwich"), (55, "orange"), (56, "broccoli"),
    (57, "carrot"), (58, "hot dog"), (59, "pizza"), (60, "donut"), (61, "cake"), (62, "chair"),
    (63, "couch"), (64, "potted plant"), (65, "bed"), (67, "dining table"), (70, "toilet"),
    (72, "tv"), (73, "laptop"), (74, "mouse"), (75, "remote"), (76, "keyboard"),
    (77, "cell phone"), (78, "microwave"), (79, "oven"), (80, "toaster"), (81, "sink"),
    (82, "refrigerator"), (84, "book"), (85, "clock"), (86, "vase"), (87, "scissors"),
    (88, "teddy bear"), (89, "hair drier"), (90, "toothbrush"),
)
# fmt: on


def coco_classes() -> tuple[ClassInfo, ...]:
    """Return COCO's classes: label 1..80, name, and COCO's own id with its gaps."""
    return tuple(ClassInfo(k + 1, name, number) for k, (number, name) in enumerate(_CATEGORIES))


def coco_classes_by_id() -> tuple[ClassInfo, ...]:
    """Return the 90 classes of detectors whose labels are COCO's ids, as torchvision's: with the
    ids that no class has.

    Those are called `N/A 12`, ...: a label of its own each, since such a detector has a score for
    it.
    """
    names = dict(_CATEGORIES)
    last = max(names)
    return tuple(ClassInfo(k, names.get(k, f"N/A {k}"), k) for k in range(1, last + 1))
