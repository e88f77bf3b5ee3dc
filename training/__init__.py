"""Networks, losses, the trainer, evaluation, prediction and export of SSD detectors, each in a
room.

Besides the rooms there are the run itself (`run/loop.py`, `run/trainer.py`), the commands, and what
all share (`settings.py`, `process/runtime.py`, ...). Data sets and batches come from `data_tools`;
the root commands only compose settings and call in here.
"""
