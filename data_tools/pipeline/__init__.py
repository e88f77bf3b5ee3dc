"""Batches for training and evaluation, the same bits for any workers, ranks and restarts.

What augmentation does to a picture is in `augment/`.
"""
