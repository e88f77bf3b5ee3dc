"""Tests in MindSpore's dry run of Ascend: compiled, selected and scheduled by its own backend, not
computed.
"""
