"""Raw data sets, each layout in a module of its own, read into tables of samples with their
defects.

`read.py` opens any of them. Nothing here writes.
"""
