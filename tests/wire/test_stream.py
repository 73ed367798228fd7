"""The bit stream: what arrives is what was selected, whatever the shape; and it says so itself."""

import struct
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.wire_samples import CODECS, maps

from infoprune.errors import BadFeatures, BadStream
from infoprune.wire import HEVC, Lossless, LosslessHEVC, Part, Selection, Zlib, decode, describe, encode
from infoprune.wire.stream import HEAD

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.uint8)


def resealed(body: bytes) -> bytes:
    """A stream with this body, whose length and checksum are right."""
    body = body[:8] + struct.pack("<Q", len(body) + 4) + body[16:]
    return body + struct.pack("<I", zlib.crc32(body))


@st.composite
def selections(draw):
    size = draw(st.integers(1, 12))
    chosen = draw(st.lists(st.integers(0, size - 1), min_size=1, unique=True))
    cut = draw(st.integers(0, len(chosen)))
    codec = st.sampled_from((Zlib(), Lossless()))
    parts = (Part(tuple(sorted(chosen[:cut])), draw(codec)), Part(tuple(sorted(chosen[cut:])), draw(codec)))
    return Selection(size, tuple(part for part in parts if part.kept))


shapes = st.tuples(st.integers(1, 5), st.integers(1, 5))


@settings(max_examples=50)
@given(selections(), shapes, st.sampled_from([None, 1, 3]), st.sampled_from(DTYPES))
def test_what_arrives_is_what_was_sent_and_zero_elsewhere(selection, shape, images, dtype):
    features = (30 * maps(*([images] if images else []), selection.size, *shape) + 1).to(dtype)
    data = encode(features, selection)
    back, described = decode(data), describe(data)
    assert (back.shape, back.dtype) == (features.shape, features.dtype) == (described.shape, described.dtype)
    assert described.selection == selection
    assert data == encode(features, selection)
    for part in selection.parts:
        sent, got = (t.movedim(-3, 0)[list(part.kept)].double() for t in (features, back))
        span = (sent.amax((-1, -2)) - sent.amin((-1, -2)))[..., None, None]
        rounding = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.uint8: 0.5 / 30}.get(dtype, 1e-6)
        allowed = 0 if part.codec == Lossless() else span / 510 + rounding * sent.abs().amax()
        assert ((sent - got).abs() <= allowed).all()
    silent = [i for i in range(selection.size) if i not in selection.kept]
    assert not back.movedim(-3, 0)[silent].any()


def bits(tensor):
    return tensor.contiguous().view(torch.uint8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_lossless_is_bit_exact_for_all_that_a_float_can_be(dtype):
    random = torch.randint(0, 256, (2, 4, 3, 5 * dtype.itemsize), generator=torch.Generator().manual_seed(0))
    features = random.to(torch.uint8).view(dtype)
    assert torch.equal(bits(decode(encode(features, Selection.hard(4, range(4), Lossless())))), bits(features))


def test_nan_and_infinite_values_pass_by_lossless_and_are_refused_by_levels():
    features = torch.tensor([float("nan"), float("inf"), -0.0, 1.0]).view(4, 1, 1)
    assert torch.equal(bits(decode(encode(features, Selection.hard(4, range(4), Lossless())))), bits(features))
    with pytest.raises(BadFeatures, match="NaN, infinite"):
        encode(features, Selection.hard(4, range(4)))
    assert decode(encode(features, Selection.hard(4, [2, 3])))[3] == 1


@pytest.mark.parametrize("codec", [Zlib(), LosslessHEVC()], ids=lambda c: c.name)
def test_eight_bit_levels_arrive_bit_exact_without_loss(codec):
    features = maps(2, 9, 7, 5)
    once = decode(encode(features, Selection.hard(9, range(9), codec)))
    assert torch.equal(decode(encode(once, Selection.hard(9, range(9), codec))), once)
    assert torch.equal(once, decode(encode(features, Selection.hard(9, range(9)))))


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: c.name)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 17, 3), (5, 1, 9), (2, 3, 13, 2)])
def test_any_size_travels_by_any_codec(codec, shape):
    features = maps(*shape)
    size = shape[-3]
    data = encode(features, Selection.soft(size, [0], codec))
    assert decode(data).shape == shape
    assert (decode(data) - features).abs().max() <= 0.2 * features.max()


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: c.name)
def test_constant_features_arrive_exactly(codec):
    features = torch.tensor([0.0, -3.3, 1e-20, 7e30]).view(4, 1, 1).expand(4, 6, 5)
    assert torch.equal(decode(encode(features, Selection.hard(4, range(4), codec))), features)


def test_soft_selection_is_finer_where_it_matters():
    features = maps(16, 20, 20)
    base = [3, 7, 8, 15]
    error = (decode(encode(features, Selection.soft(16, base, HEVC(38)))) - features).abs().flatten(1).mean(1)
    rest = [i for i in range(16) if i not in base]
    scale = features.flatten(1).amax(1)
    assert (error / scale)[base].max() < 0.003 < 0.01 < (error / scale)[rest].min()


def test_a_stream_says_where_its_bits_are():
    data = encode(maps(3, 16, 20, 20), Selection.soft(16, range(4), HEVC(30)))
    described = describe(data)
    base, rest = described.bits
    overhead = HEAD.size + 4 + 2 * (2 + 2 + 3 * 8)
    assert base + rest + 8 * overhead == 8 * len(data)
    assert (described.images, described.height, described.width) == (3, 20, 20)
    assert [part.codec for part in described.selection.parts] == [Zlib(), HEVC(30)]


def test_features_on_their_way_from_training_are_detached():
    features = maps(2, 4, 4).requires_grad_()
    assert not decode(encode(features, Selection.hard(2, [0]))).requires_grad


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        (((),), "sends no feature"),
        (((1, 1),), "once"),
        (((2, 1),), "once"),
        (((-1,),), "from 0 to 3"),
        (((4,),), "from 0 to 3"),
        (((0, 1), (1,)), "in both parts"),
        ((), "sends no feature"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(parts, complaint):
    with pytest.raises(ValueError, match=complaint):
        Selection(4, tuple(Part(kept, Zlib()) for kept in parts))
    with pytest.raises(ValueError, match="sends no feature"):
        Selection.hard(4, [])


@pytest.mark.parametrize(
    ("features", "error", "complaint"),
    [
        (torch.zeros(3, 2, 2), ValueError, "3 features and the selection is of 4"),
        (torch.zeros(4, 2), ValueError, r"features are \(4, 2\)"),
        ([1, 2], ValueError, "features are list"),
        (torch.zeros(4, 0, 2), BadFeatures, "hold nothing"),
        (torch.zeros(0, 4, 2, 2), BadFeatures, "hold nothing"),
        (torch.zeros(4, 2, 2, dtype=torch.int64), TypeError, "torch.int64; the wire carries"),
        (torch.zeros(1).expand(4, 9000, 9000), ValueError, "more than a stream may hold"),
    ],
)
def test_features_that_do_not_fit_are_refused(features, error, complaint):
    with pytest.raises(error, match=complaint):
        encode(features, Selection.hard(4, [0]))


def test_a_later_version_asks_for_an_update():
    data = bytearray(encode(maps(2, 4, 4), Selection.hard(2, [0])))
    data[4] = 2
    with pytest.raises(BadStream, match="version 2, this release reads 1; update"):
        decode(resealed(bytes(data[:-4])))


def test_the_layout_is_what_version_1_wrote():
    """Made by the first release: a stream that is already out there must stay readable."""
    head = "49504653010000014b0000000000000001000000020000000200000002000000"
    part = "010002100000000c00000078da63606870606078e00000064801e178da63085df51f00035601ff"
    data = bytes.fromhex(head + part + "8804020e")
    assert describe(data).selection == Selection.hard(2, [1])
    assert decode(data).flatten().tolist() == [0, 0, 0, 0, 4, 5, 6, 7]


@pytest.mark.parametrize("data", ["text", None, 3])
def test_what_is_not_bytes_is_a_type_error(data):
    with pytest.raises(TypeError, match="a stream is bytes"):
        decode(data)


def test_bytes_in_any_wrapping_are_read():
    data = encode(maps(2, 4, 4), Selection.hard(2, [0]))
    assert torch.equal(decode(bytearray(data)), decode(memoryview(data)))
