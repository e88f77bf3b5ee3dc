"""One training step and all that it is made of: losses, gradients over all ranks, optimizer, rate,
sinking.

When to step, save, evaluate and stop is `training/run/trainer.py`; what a run shows of itself is in
`watching/`.
"""
