"""A checkpoint to ONNX or MindIR, and the proof that the file computes what the checkpoint
computes.

Running such files, and what they say of themselves, is in `inference/`.
"""
