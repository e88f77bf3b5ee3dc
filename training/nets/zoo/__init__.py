"""One module a network, named like the model: `build(model, num_classes)` and
`feature_sides(side)`.

Shared layers, heads and backbones live one floor up; settings in `conf/model/NAME.yaml`.
"""
