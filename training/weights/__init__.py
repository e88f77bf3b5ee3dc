"""Weights by name: what `hub:NAME` stands for, where the file comes from, and how it gets here
unharmed.

What is in a file of weights is the business of `training/checkpoints/`.
"""
