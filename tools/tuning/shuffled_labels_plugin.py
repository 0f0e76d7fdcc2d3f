"""A plugin: with KD_SHUFFLED_LABELS in the environment, test images have the labels of others."""

from __future__ import annotations

import os

import models
from tools.tuning import shuffled_labels


def network(num_classes: int) -> models.Classifier:
    """A plugin has to register something; no matrix names it, and no pattern means it."""
    return models.build("resnet8", num_classes)


models.register("shuffled_labels/none", network)
if os.environ.get(shuffled_labels.SWITCH):
    shuffled_labels.install()
