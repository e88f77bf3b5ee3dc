"""A classification checkpoint into a detector's backbone, matched by name or by order and shape.

Detector checkpoints are `weights.py`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_tools.errors import CheckpointError
from training.weights import LoadReport

Kind = tuple[str, tuple[int, ...]]
PREFIXES = ("backbone.", "feature_extractor.", "feature_extractor.bottom_up.")


def load_backbone(network: Any, weights: Mapping[str, NDArray[Any]]) -> LoadReport:
    """Put the weights of a classifier into a detector's backbone. Call it before the first step.

    Names are tried first. Where classifier and detector name the same layers differently, layers are
    matched by their order: the longest common sequence of (kind of parameter, shape).

    Args:
        network: The detector.
        weights: What `weights.read_weights` returned.

    Returns:
        Detector parameters that were loaded, file entries that were skipped, parameters left as they
        were.

    Raises:
        CheckpointError: If nothing fits.
    """
    from training.state import assign

    parameters = {p.name: p for p in network.get_parameters()}
    targets = [n for n in parameters if not n.startswith("multi_box.")]
    pairs = match_by_name(targets, {n: parameters[n].shape for n in targets}, weights)
    if len(pairs) < max(1, len(weights) // 4):
        pairs = match_by_order(
            [(n, tuple(parameters[n].shape)) for n in targets],
            [(n, tuple(w.shape)) for n, w in weights.items()],
        )
    if not pairs:
        raise CheckpointError(
            f"init.backbone: none of the {len(weights)} weights fits the backbone, by name or by "
            f"shape. The file begins with {list(weights)[:2]}, the backbone with {targets[:2]}."
        )
    for target, source in pairs.items():
        assign(parameters[target], weights[source])
    used = set(pairs.values())
    return LoadReport(
        loaded=tuple(n for n in parameters if n in pairs),
        skipped=tuple(n for n in weights if n not in used),
        missing=tuple(n for n in parameters if n not in pairs),
    )


def match_by_name(
    targets: Sequence[str],
    shapes: Mapping[str, Sequence[int]],
    weights: Mapping[str, NDArray[Any]],
) -> dict[str, str]:
    """Return target name to file name where they agree, prefixes of the backbone aside."""
    pairs = {}
    for target in targets:
        bare = [target, *(target[len(p) :] for p in PREFIXES if target.startswith(p))]
        for name in bare:
            if name in weights and tuple(weights[name].shape) == tuple(shapes[target]):
                pairs[target] = name
                break
    return pairs


def match_by_order(
    targets: Sequence[tuple[str, tuple[int, ...]]], sources: Sequence[tuple[str, tuple[int, ...]]]
) -> dict[str, str]:
    """Return target name to file name along the longest common sequence of (kind, shape).

    What is left over on both sides is matched once more: detectors list some layers out of order.

    >>> match_by_order([("a.weight", (1,)), ("b.bias", (2,))], [("x.weight", (1,)), ("y.bias", (2,))])
    {'a.weight': 'x.weight', 'b.bias': 'y.bias'}
    """
    pairs: dict[str, str] = {}
    for _ in range(2):
        left = [t for t in targets if t[0] not in pairs]
        right = [s for s in sources if s[0] not in pairs.values()]
        kinds = [_kind(*t) for t in left], [_kind(*s) for s in right]
        for i, j in _common_sequence(*kinds):
            pairs[left[i][0]] = right[j][0]
    return pairs


def _kind(name: str, shape: tuple[int, ...]) -> Kind:
    return name.rsplit(".", 1)[-1], tuple(shape)


def _common_sequence(a: Sequence[Kind], b: Sequence[Kind]) -> list[tuple[int, int]]:
    lengths = np.zeros((len(a) + 1, len(b) + 1), np.int32)
    for i in range(len(a) - 1, -1, -1):
        for j in range(len(b) - 1, -1, -1):
            if a[i] == b[j]:
                lengths[i, j] = lengths[i + 1, j + 1] + 1
            else:
                lengths[i, j] = max(lengths[i + 1, j], lengths[i, j + 1])
    found, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            found.append((i, j))
            i, j = i + 1, j + 1
        elif lengths[i + 1, j] >= lengths[i, j + 1]:
            i += 1
        else:
            j += 1
    return found
