"""Data sets by name. Reading is a pure function of (seed, epoch, index)."""

from infoprune.data import cifar as cifar
from infoprune.data import coco as coco
from infoprune.data import coco_objects as coco_objects
from infoprune.data import digits as digits
from infoprune.data import digits_on_photos as digits_on_photos
from infoprune.data import folders as folders
from infoprune.data import on_disk as on_disk
from infoprune.data import shards as shards
from infoprune.data import stamps as stamps
from infoprune.data import tensors as tensors
from infoprune.data import three_tasks as three_tasks
from infoprune.data.base import Examples as Examples
from infoprune.data.base import Facts as Facts
from infoprune.data.base import Kind as Kind
from infoprune.data.base import Task as Task
from infoprune.data.base import data_set as data_set
from infoprune.data.base import datasets as datasets
from infoprune.data.base import facts_of as facts_of
from infoprune.data.batches import First as First
from infoprune.data.batches import InOrder as InOrder
from infoprune.data.batches import Steps as Steps
from infoprune.data.by_path import named_by as named_by
from infoprune.data.items import examples_of as examples_of
from infoprune.data.noise import Noise as Noise
from infoprune.data.own import own_task as own_task
from infoprune.data.preprocessing import View as View
from infoprune.deprecated import renamed

__getattr__ = renamed(__name__, {"told_by": "named_by"})
