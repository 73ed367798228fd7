"""A pruned model as a directory: config.json and model.safetensors, never pickle."""

from infoprune.artifact.config import read_config as read_config
from infoprune.artifact.config import read_members as read_members
from infoprune.artifact.loading import load as load
from infoprune.artifact.plain import save_plain as save_plain
from infoprune.artifact.plans_between import plan_between as plan_between
from infoprune.artifact.saving import save as save
