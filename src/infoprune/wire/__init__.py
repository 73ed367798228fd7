"""Features on their way from the edge to the cloud: tiling, codecs and a bit stream."""

from infoprune.wire.codec import Codec as Codec
from infoprune.wire.codec import Lossless as Lossless
from infoprune.wire.codec import Zlib as Zlib
from infoprune.wire.codec import codecs as codecs
from infoprune.wire.connection import read_stream as read_stream
from infoprune.wire.connection import write_stream as write_stream
from infoprune.wire.hevc import HEVC as HEVC
from infoprune.wire.hevc import Kvazaar as Kvazaar
from infoprune.wire.hevc import LosslessHEVC as LosslessHEVC
from infoprune.wire.quantisation import dequantise as dequantise
from infoprune.wire.quantisation import quantise as quantise
from infoprune.wire.selection import Part as Part
from infoprune.wire.selection import Selection as Selection
from infoprune.wire.stream import Description as Description
from infoprune.wire.stream import decode as decode
from infoprune.wire.stream import describe as describe
from infoprune.wire.stream import encode as encode
from infoprune.wire.tiling import tile as tile
from infoprune.wire.tiling import untile as untile
