"""Variations of a training image as pure functions of (sample, generator): geometry, colour,
pixels.

Which images are read and in what order is `pipeline/order.py`'s matter; batches are made in
`pipeline/pipeline.py`.
"""
