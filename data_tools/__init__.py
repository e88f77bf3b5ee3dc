"""Raw data sets in, MindRecord shards and batches out: converters, manifest, augmentation,
pipeline.

Knows nothing of models, optimizers or Hydra: `training` imports this package, never the other way
round.
"""

__version__ = "0.2.0.dev0"
