"""Every codec: round trips, the same bytes twice, odd sizes, hostile bytes; and the QP in the stream."""

import re
import subprocess
import sys

import numpy as np
import pytest
from tests.wire.wire_samples import CODECS, picture

from infoprune.errors import BadStream, MissingExtra
from infoprune.wire import HEVC, Kvazaar, Lossless, LosslessHEVC, Zlib, codecs, hevc
from infoprune.wire.headers import read_headers

EXACT = (Zlib(), Lossless(), LosslessHEVC())
LOSSY = (HEVC(20), Kvazaar(20))
QPS = (0, 1, 10, 25, 26, 27, 40, 51)

every = pytest.mark.parametrize("codec", CODECS, ids=lambda c: c.name)
at_qp = pytest.mark.parametrize("kind", [HEVC, Kvazaar], ids=lambda k: k.name)


def test_every_codec_has_a_number_and_a_name_of_its_own():
    assert {type(codec) for codec in CODECS} >= {type(codec) for codec in (*EXACT, *LOSSY)}
    assert len({codec.number for codec in CODECS}) == len({codec.name for codec in CODECS}) == len(CODECS)
    assert all(codecs[codec.name] is type(codec) for codec in CODECS)


@every
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (17, 9), (31, 40), (16, 16), (65, 64)])
def test_any_size_comes_back(codec, shape):
    grey = picture(*shape)
    back = codec.decode(codec.encode(grey), *shape)
    assert back.shape == shape
    assert back.dtype == np.uint8
    assert codec in LOSSY or (back == grey).all()
    assert codec in EXACT or np.abs(back.astype(int) - grey).mean() < 5


@every
def test_the_same_picture_gives_the_same_bytes(codec):
    assert codec.encode(picture(40, 48)) == codec.encode(picture(40, 48))


@every
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_constant_picture_is_small_and_exact(codec, level):
    data = codec.encode(np.full((64, 64), level, np.uint8))
    assert len(data) < 200
    assert (codec.decode(data, 64, 64) == level).all()


@every
@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\1\x26\1\x80", b"\0\0\1" * 50, bytes(1000)], ids=len)
def test_bytes_that_no_encoder_wrote_are_a_bad_stream(codec, data):
    with pytest.raises(BadStream):
        codec.decode(data, 16, 16)


@every
def test_a_picture_of_another_size_is_a_bad_stream(codec):
    with pytest.raises(BadStream, match=r"announced|deflated"):
        codec.decode(codec.encode(picture(64, 64)), 64, 8000)


@every
def test_a_cut_payload_is_a_bad_stream(codec):
    data = codec.encode(picture(64, 64))
    with pytest.raises(BadStream):
        codec.decode(data[:60], 64, 64)


def told_by_ffmpeg(data):
    """The slice's QP and cu_qp_delta_enabled_flag, in the words of ffmpeg's own parser."""
    command = [*hevc._ffmpeg("hevc")[:2], "-loglevel", "trace", "-f", "hevc", "-i", "-", "-c", "copy"]
    command += ["-bsf:v", "trace_headers", "-f", "null", "-"]
    told = subprocess.run(command, input=data, capture_output=True, check=True).stderr.decode(errors="replace")

    def number(field):
        return int(re.search(rf" {field} .*= (-?\d+)", told)[1])

    qp = 26 + number("init_qp_minus26") + number("slice_qp_delta")
    return qp, number("cu_qp_delta_enabled_flag"), number("pic_width_in_luma_samples"), number("chroma_format_idc")


@at_qp
@pytest.mark.parametrize("qp", QPS)
def test_the_qp_in_the_stream_is_the_qp_asked_for(kind, qp):
    data = kind(qp).encode(picture(33, 70))
    found = read_headers(data)
    assert told_by_ffmpeg(data) == (qp, 0, 72, found.chroma)
    assert (found.qp, found.qp_varies, found.width, found.height) == (qp, False, 72, 40)


@at_qp
def test_a_picture_at_another_qp_than_announced_is_a_bad_stream(kind):
    with pytest.raises(BadStream, match="coded at QP 30 and was announced at 31"):
        kind(31).decode(kind(30).encode(picture(32, 32)), 32, 32)


@at_qp
def test_more_qp_is_fewer_bytes_and_more_error(kind):
    grey = picture(64, 64)
    coded = {qp: kind(qp).encode(grey) for qp in (4, 14, 24, 34, 44)}
    lengths = [len(data) for data in coded.values()]
    errors = [np.square(kind(qp).decode(data, 64, 64) - grey.astype(float)).mean() for qp, data in coded.items()]
    assert lengths == sorted(lengths, reverse=True)
    assert errors == sorted(errors)


@pytest.mark.parametrize("codec", [HEVC(20), LosslessHEVC(), Kvazaar(20)], ids=lambda c: c.name)
def test_two_decoders_agree(codec, monkeypatch):
    grey = picture(50, 90)
    data = codec.encode(grey)
    by_av = codec.decode(data, 50, 90)
    monkeypatch.setattr(hevc, "_av", lambda: None)
    assert (codec.decode(data, 50, 90) == by_av).all()


@at_qp
@pytest.mark.parametrize("qp", [-1, 52, 20.0, True, None])
def test_a_qp_that_hevc_has_not_is_refused(kind, qp):
    with pytest.raises(ValueError, match="0 to 51"):
        kind(qp)


def test_a_mosaic_beyond_hevc_is_refused():
    with pytest.raises(ValueError, match="more than HEVC's 8192 a side"):
        HEVC(20).encode(np.zeros((1, 8193), np.uint8))


def test_a_missing_encoder_is_one_sentence_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"pip install 'infoprune\[hevc\]' or send with Zlib\(\)"):
        HEVC(20).encode(picture(16, 16))
    hevc._ffmpeg.cache_clear()
    monkeypatch.setattr(hevc, "_programs", list)
    with pytest.raises(MissingExtra, match=r"pip install 'infoprune\[kvazaar\]'"):
        Kvazaar(20).encode(picture(16, 16))
    with pytest.raises(MissingExtra, match=r"pip install 'infoprune\[hevc\]'"):
        HEVC(20).decode(CODED, 16, 16)
    hevc._ffmpeg.cache_clear()


CODED = HEVC(20).encode(picture(16, 16))


def test_an_encoder_that_codes_at_another_qp_is_not_believed(monkeypatch):
    monkeypatch.setattr(hevc, "X265", hevc.X265.replace("ipratio=1.0", "ipratio=1.4"))
    with pytest.raises(Exception, match="coded at QP 17 and was asked for 20"):
        HEVC(20).encode(picture(16, 16))
