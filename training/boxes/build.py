"""Makes the encoder of a network's targets: the one that its settings ask for.

The encoders are `codec.py`, targets for each anchor, and `object_list.py`, a table of objects.
"""

from __future__ import annotations

from data_tools.pipeline.settings import PipelineSettings
from training.boxes.codec import BoxEncoder
from training.boxes.corners import default_corners
from training.boxes.object_list import ObjectList
from training.nets.anchors import default_boxes, levels
from training.nets.settings import ModelSettings


def build_targets(
    model: ModelSettings, crowd_ignore: float = PipelineSettings.crowd_ignore
) -> BoxEncoder | ObjectList:
    """Return what makes the pipeline's targets: matched anchors, or the objects that the graph
    matches.

    Args:
        model: The network's settings.
        crowd_ignore: See `PipelineSettings.crowd_ignore`.
    """
    if model.assign == "tal":
        return ObjectList(model.max_boxes)
    return build_encoder(model, crowd_ignore)


def build_encoder(
    model: ModelSettings, crowd_ignore: float = PipelineSettings.crowd_ignore
) -> BoxEncoder:
    """Return the encoder of a network's targets, exact to the published matchings.

    Args:
        model: The network's settings.
        crowd_ignore: See `PipelineSettings.crowd_ignore`.
    """
    return BoxEncoder(
        default_boxes(model),
        model.match_threshold,
        tuple(model.prior_scaling),
        crowd_ignore,
        corners_yxyx_rel=default_corners(model),
        levels=[(level.height, level.width, len(level.sizes_hw_rel)) for level in levels(model)],
        atss=model.assign == "atss",
    )
