"""The ground floor: errors, boxes, samples, files, locks, progress, and how settings are declared.

Knows no data set, no image format and no shard; every other room stands on it.
"""
