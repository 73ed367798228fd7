"""What may be spent."""

from infoprune.budgets.activations import activations as activations
from infoprune.budgets.base import Budget as Budget
from infoprune.budgets.base import budgets as budgets
from infoprune.budgets.bits import bits as bits
from infoprune.budgets.counted import macs as macs
from infoprune.budgets.counted import params as params
from infoprune.budgets.latency import latency as latency
