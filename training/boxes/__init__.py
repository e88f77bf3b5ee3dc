"""Box arithmetic in NumPy: truth to targets before the network, scores to detections after it.

Where the default boxes sit is `nets/anchors.py`; what detections are worth is measured in
`evaluation/`.
"""
