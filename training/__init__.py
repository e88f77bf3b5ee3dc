"""Networks, losses, the trainer, evaluation, prediction and export of SSD detectors.

Data sets and batches come from `data_tools`; the root commands only compose settings and call in here.
"""
