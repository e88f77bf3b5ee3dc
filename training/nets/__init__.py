"""The networks: settings, layers, heads, default boxes, and `build.build_network`, which makes one
by name.

Losses are in `training/learning/losses.py`, weights from files in `training/checkpoints/`.
"""
