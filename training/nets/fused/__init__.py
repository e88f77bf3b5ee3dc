"""Batch norm, activation and depthwise convolution of a training step on CPU, each chain of them as
one compiled operator.
"""
