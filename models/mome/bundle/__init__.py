"""The model folder: weights with everything that belongs to them, in the layout of a MONAI Bundle, under one manifest.

models/model.safetensors   the weights; their header is the truth, and what follows is made from it
configs/metadata.json      as MONAI's tools read it: inputs, outputs, versions, intended use
configs/inference.json     for `monai.bundle`: builds the network and scores a cohort
configs/network.json  preprocessing.json  labels.json  card.json
docs/README.md             the model card for people
evaluation/*.json          reports of `mome evaluate`
training/run.json          how the weights were made
seen.csv                   hashes of the exams that training and tuning used
manifest.json              SHA-256 of every file; its own SHA-256 is the identity of the folder
"""

from .folder import Bundle, open_folder, write
from .manifest import BundleError

__all__ = ["Bundle", "BundleError", "open_folder", "write"]
