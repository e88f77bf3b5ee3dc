"""One rank's training run: prepare, build, begin or resume, train, evaluate, save, finish.

Gradients and losses are in `learning/`, files in `checkpoints/`.
"""
