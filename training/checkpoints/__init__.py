"""Weights and states in files: written whole or not at all, hashed, recognised, matched with a
network.

What of a live run goes into a checkpoint is gathered in `learning/state.py`; exported files are in
`inference/`.
"""
