"""Frames and what is in them: what was said is what is heard, and nothing else is taken for it."""

import asyncio
import random
import struct
import tracemalloc
import zlib

import pytest
import torch
from frames import BadFrame, Frame, Kind, read_frame
from messages import SMALL, Answer, Hello, Later, Refused, Request, RequestFailed, Welcome, Why, failed, failure, named
from tests.wire.test_hostile_streams import mutated
from together import NotDivisible, divided, require_divisible

from infoprune.errors import BadStream

HELLO = Hello("Net", "0123456789abcdef", "layer2.0", ("depth", "parts"), ("zlib", "hevc"))
OUTPUTS = {
    "": torch.rand(2, 3),
    "boxes/0": torch.zeros(0, 4),
    "scalar": torch.tensor(2.5, dtype=torch.float64),
    "labels": torch.tensor([-3, 2**40]),
    "mask": torch.tensor([[True, False]]),
    "half": torch.rand(1, 2, 1, 3).bfloat16(),
}
BODIES = [HELLO.to_bytes(), Welcome(4, 1000, 2000).to_bytes(), Request((1, 3, 16, 20)).to_bytes()]
BODIES += [Answer(OUTPUTS, 1.5, 2.5, 3).to_bytes(), failure(Kind.FAILED, 1, Why.LATER, "later").body]


async def _heard(data: bytes, most_bytes: int, ended: bool) -> Frame | None:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    if ended:
        reader.feed_eof()
    return await asyncio.wait_for(read_frame(reader, most_bytes=most_bytes), 5)


def heard(data: bytes, most_bytes: int = 1 << 16, *, ended: bool = True) -> Frame | None:
    return asyncio.run(_heard(data, most_bytes, ended))


def test_frames_are_laid_out_as_the_page_has_them():
    data = b"IPSP" + struct.pack("<BBHII", 1, 4, 0, 9, 3) + b"abc"
    assert Frame(Kind.REQUEST, 9, b"abc").to_bytes() == data + struct.pack("<I", zlib.crc32(data))
    assert heard(data + struct.pack("<I", zlib.crc32(data))) == Frame(Kind.REQUEST, 9, b"abc")
    assert heard(b"") is None


def head(magic=b"IPSP", version=1, kind=1, zero=0, number=0, length=0):
    return struct.pack("<4sBBHII", magic, version, kind, zero, number, length)


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (head(magic=b"HTTP"), "begins with b'HTTP'"),
        (head(version=2), "has version 2, this program speaks 1"),
        (head(kind=7), "no frame of kind 7"),
        (head(zero=1), "no frame of kind 1"),
        (head(length=0xFFFFFFFF), "announces 4294967295 bytes where 1000 are the most"),
    ],
    ids=["other service", "other version", "other kind", "not zero", "huge"],
)
def test_what_a_head_can_not_mean_is_refused_before_more_is_read(first, told):
    with pytest.raises(BadFrame, match=told):
        heard(first, 1000, ended=False)


def test_no_memory_is_taken_for_a_body_that_was_only_announced():
    tracemalloc.start()
    with pytest.raises(BadStream, match="after 100 of"):
        heard(head(length=1 << 30) + b"x" * 100, 1 << 30)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_no_changed_frame_is_heard():
    chance = random.Random(0)

    async def run():
        for i in range(1000):
            data = Frame(Kind.ANSWER, i, BODIES[i % len(BODIES)]).to_bytes()
            changed = mutated(data, chance)
            if changed and not changed.startswith(data):
                with pytest.raises(BadStream):
                    await _heard(changed, 1 << 16, ended=True)

    asyncio.run(run())


def test_bodies_that_were_made_up_are_read_or_refused():
    """A checksum keeps out accidents, not attackers."""
    chance, refused = random.Random(1), 0
    for i in range(4000):
        body = mutated(BODIES[i % len(BODIES)], chance) if i % 4 else chance.randbytes(chance.randrange(60))
        for read in (Hello.from_bytes, Welcome.from_bytes, Request.from_bytes, Answer.from_bytes):
            try:
                read(body)
            except BadFrame:
                refused += 1
    assert refused > 8000


def test_an_output_that_announces_more_than_there_is_takes_no_memory():
    body = struct.pack("<ffIH", 0, 0, 0, 1) + struct.pack("<HBB4I", 0, 0, 4, 1 << 15, 1 << 15, 16, 1)
    with pytest.raises(BadFrame, match="announces 68719476736 bytes where 0 are left"):
        Answer.from_bytes(body)


@pytest.mark.parametrize("shape", [(0xFFFFFFFF,) * 4, (0, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)])
def test_a_shape_that_no_tensor_has_is_refused(shape):
    with pytest.raises(BadFrame, match="which nothing has"):
        Answer.from_bytes(struct.pack("<ffIH", 0, 0, 0, 1) + struct.pack("<HBB4I", 0, 0, 4, *shape))


def test_what_was_said_is_what_is_heard():
    assert Hello.from_bytes(HELLO.to_bytes()) == HELLO
    assert Hello.from_bytes(HELLO.to_bytes() + b"colour blue\n") == HELLO  # of a later release
    assert Welcome.from_bytes(BODIES[1]) == Welcome(4, 1000, 2000)
    assert Request.from_bytes(BODIES[2]).shape == (1, 3, 16, 20)
    answer = Answer.from_bytes(BODIES[3])
    assert (answer.queue_ms, answer.cloud_ms, answer.waiting) == (1.5, 2.5, 3)
    assert list(answer.outputs) == list(OUTPUTS)
    for name, wanted in OUTPUTS.items():
        assert answer.outputs[name].dtype == wanted.dtype
        assert torch.equal(answer.outputs[name], wanted)


@pytest.mark.parametrize(
    ("kind", "why", "error"),
    [
        (Kind.REFUSED, Why.WRONG, Refused),
        (Kind.REFUSED, Why.LATER, Later),
        (Kind.FAILED, Why.WRONG, RequestFailed),
        (Kind.FAILED, Why.LATER, Later),
        (Kind.FAILED, Why.BROKEN, RequestFailed),
    ],
)
def test_failures_are_errors_that_say_what_to_do(kind, why, error):
    found = failed(failure(kind, 3, why, "a" * 10_000))
    assert type(found) is error
    assert len(failure(kind, 3, why, "a" * 10_000).body) == SMALL


# ------------------------------------------------------------------------------------------- outputs and their parts


def test_outputs_have_the_names_of_their_ways():
    outputs = {"a": torch.zeros(1), "b": [{"boxes": torch.zeros(2)}, (torch.zeros(3),)]}
    assert [(name, len(t)) for name, t in named(outputs)] == [("a", 1), ("b/0/boxes", 2), ("b/1/0", 3)]
    assert list(dict(named(torch.zeros(1)))) == [""]
    with pytest.raises(TypeError, match="gives out a str; answers carry tensors"):
        list(named("text"))


def test_each_request_gets_its_part():
    whole = {"a": torch.arange(6).view(3, 2), "b": [torch.arange(3), torch.arange(3) + 10]}
    one, two = divided(whole, [1, 2])
    assert torch.equal(one["a"], whole["a"][:1])
    assert torch.equal(two["b"][1], torch.tensor([11, 12]))
    boxes = [{"n": torch.tensor(i)} for i in range(3)]
    assert divided(boxes, [2, 1]) == [boxes[:2], boxes[2:]]
    assert divided("anything", [5]) == ["anything"]
    for outputs in (torch.zeros(2), torch.tensor(1.0), {"a": torch.zeros(4)}, boxes[:2]):
        with pytest.raises(NotDivisible, match="serve with --together 1"):
            divided(outputs, [1, 2])


def test_a_network_whose_images_know_of_each_other_is_not_run_on_several_requests():
    x = torch.rand(1, 4)
    require_divisible(lambda features, shape: {"a": features * 2}, x, (1, 4))
    with pytest.raises(NotDivisible, match="depend on the others"):
        require_divisible(lambda features, shape: features - features.mean(0), x, (1, 4))
