"""Decode streams whose HEVC payloads were changed at random and whose checksums were put right again.

    python benchmarks/wire_mutations.py --streams 10000

A crash ends this process. Printed: how the streams ended, the slowest in CPU time, and how much memory was taken.
"""

from __future__ import annotations

import random
import re
import resource
import struct
import time
import zlib
from collections import Counter

import torch
from results_file import ResultsFile, arguments
from tqdm import tqdm

from infoprune.errors import BadStream
from infoprune.wire import HEVC, Kvazaar, LosslessHEVC, Selection, decode, encode
from infoprune.wire.stream import CRC, HEAD

NUMBER = re.compile(r"-?\d+")  # left out of what an error says, so that errors of one kind count as one


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--streams", type=int, default=10_000, help="how many are decoded")
    parser.add_argument("--seed", type=int, default=0, help="of the changes")
    options = parser.parse_args()
    if options.smoke:
        options.streams = 200
    torch.set_num_threads(1)
    chance, streams = random.Random(options.seed), originals()
    ended: Counter[str] = Counter()
    slowest, memory = 0.0, peak_kb()
    for number in tqdm(range(options.streams), disable=None):
        data = changed(streams[number % len(streams)], chance)
        started = time.process_time()
        ended[outcome(data)] += 1
        slowest = max(slowest, time.process_time() - started)
    results = ResultsFile.of(options, "wire_mutations", key=("streams", "seed"))
    about = {"streams": options.streams, "seed": options.seed, "ended": dict(ended.most_common())}
    refused = sum(count for how, count in ended.items() if how.startswith("BadStream")) / options.streams
    results.append(
        {**about, "refused": refused, "slowest_ms": 1e3 * slowest, "memory_mib": (peak_kb() - memory) / 1024}
    )


def originals() -> list[bytes]:
    maps = torch.rand(24, 36, 44, generator=torch.Generator().manual_seed(0))
    maps[:, 8:20] = 0
    small = maps[:6, :9, :11]
    streams = [encode(small, Selection.hard(6, range(6), codec)) for codec in (HEVC(22), LosslessHEVC(), Kvazaar(22))]
    return [*streams, encode(maps, Selection.hard(24, range(24), HEVC(30)))]


def changed(stream: bytes, chance: random.Random) -> bytes:
    found = bytearray(stream[: -CRC.size])
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        place = chance.randrange(HEAD.size + 3, len(found))
        match chance.randrange(4):
            case 0 | 1:
                found[place] ^= 1 << chance.randrange(8)
            case 2:
                found[place] = chance.randrange(256)
            case _:
                new = chance.choice((b"\0\0\1\x26", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\1\x42"))
                found[place : place + 4] = new[: len(found) - place]
    return bytes(found) + struct.pack("<I", zlib.crc32(found))


def outcome(data: bytes) -> str:
    try:
        decode(data)
    except BadStream as error:
        return f"BadStream: {NUMBER.sub('n', str(error).partition(';')[0])[:60]}"
    return "decoded to other values"


def peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
