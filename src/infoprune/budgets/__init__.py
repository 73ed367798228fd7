"""What may be spent."""

from infoprune.budgets.activations import Activations as activations  # noqa: F401
from infoprune.budgets.base import Budget as Budget
from infoprune.budgets.base import Comparison as Comparison
from infoprune.budgets.base import Counted as Counted
from infoprune.budgets.base import budgets as budgets
from infoprune.budgets.bits import Bits as bits  # noqa: F401
from infoprune.budgets.counted import Macs as macs  # noqa: F401
from infoprune.budgets.counted import Params as params  # noqa: F401
from infoprune.budgets.latency import latency as latency
from infoprune.budgets.memory import Bytes as bytes  # noqa: F401
from infoprune.budgets.memory import KVCache as kv_cache  # noqa: F401
