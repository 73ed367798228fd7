"""Where models are filed by name."""

from infoprune.registry import Registry

models = Registry("model")
