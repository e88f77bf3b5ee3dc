"""From a raw data set to shards with a manifest, in parallel, restartable, whole or not at all.

Raw layouts are read in `sources/`; what looks at a finished set is in `converted/`.
"""
