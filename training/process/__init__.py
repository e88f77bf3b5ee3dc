"""The process before anything is built: environment, device, ranks, signals, and what it tells of
itself.

Nothing here knows of data or models.
"""
