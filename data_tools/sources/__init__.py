"""Raw data sets as streams of `Sample`: one module a layout, each sorted by image id.

Nothing in here writes shards or decides what happens to a defect; see `convert.py`.
"""
