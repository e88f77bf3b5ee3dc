"""Converted sets on disk: rows, manifest, and MindRecord files written and read.

Which rows go where is decided in `convert/`; batches are made in `pipeline/`.
"""
