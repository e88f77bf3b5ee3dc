"""From a detector file and a picture to detections: any file's format, `predict.py`, the local
page.

How files are exported is in `exporting/`; the arithmetic of boxes and scores is in `boxes/`.
"""
