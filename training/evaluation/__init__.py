"""What detections are worth: ground truth, matching, COCO's and VOC's figures, their table.

Detections are made in `boxes/postprocess.py`; the command around it is
`training/commands/evaluate.py`, the evaluation of a run `training/run/evaluator.py`.
"""
