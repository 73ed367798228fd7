"""What an HEVC stream says of itself, read without decoding it: size, format and the QP of its one picture.

Rec. ITU-T H.265, 7.3. Only what the encoders in `hevc.py` write is understood; anything else is a BadStream, so that no
decoder is handed sizes that nobody checked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from infoprune.errors import BadStream

VPS, SPS, PPS, END_OF_SEQUENCE, END_OF_STREAM, PREFIX_SEI, SUFFIX_SEI = 32, 33, 34, 36, 37, 39, 40
IDR = (19, 20)
HARMLESS = (35, END_OF_SEQUENCE, END_OF_STREAM, PREFIX_SEI, SUFFIX_SEI)
LONGEST_HEADER = 4096


@dataclass(frozen=True)
class Picture:
    """One intra picture, eight bits deep, grey or with chroma at half size."""

    width: int
    height: int
    chroma: int  # chroma_format_idc: 0 is grey, 1 is 4:2:0
    qp: int  # SliceQpY of the first slice: 26 + init_qp_minus26 + slice_qp_delta
    qp_varies: bool  # cu_qp_delta_enabled_flag: blocks may have QPs of their own


def read_headers(data: bytes) -> Picture:
    """The picture that an Annex B stream holds."""
    units: dict[int, list[bytes]] = {}
    for unit in _units(data):
        units.setdefault(unit[0] >> 1 & 63, []).append(unit)
    slices = [kind for kind in IDR if kind in units]
    odd = sorted(units.keys() - {VPS, SPS, PPS, *HARMLESS, *IDR})
    counts = [len(units.get(kind, ())) for kind in (VPS, SPS, PPS)]
    if odd or counts != [1, 1, 1] or len(slices) != 1:
        raise BadStream(f"the HEVC payload is not one intra picture (odd units {odd}); ask for the stream again")
    try:
        return _picture(_Bits(units[SPS][0]), _Bits(units[PPS][0]), _Bits(units[slices[0]][0]))
    except IndexError:
        raise BadStream("the HEVC payload's headers are cut off; ask for the stream again") from None


def _units(data: bytes) -> list[bytes]:
    """What stands between start codes, each unit with its two-byte header."""
    marks = [(m.start(), m.end()) for m in re.finditer(b"\0\0\1", data)]
    if not marks or data[: marks[0][0]].strip(b"\0"):
        raise BadStream("the HEVC payload does not begin with a start code; ask for the stream again")
    ends = [start for start, _ in marks[1:]] + [len(data)]
    units = [data[begin:end] for (_, begin), end in zip(marks, ends, strict=True)]
    if any(len(unit) < 3 or unit[0] & 0x80 or unit[0] & 1 or unit[1] != 1 for unit in units):
        raise BadStream("the HEVC payload holds units of other layers; ask for the stream again")
    return units


class _Bits:
    """Bits of a unit after its header, without the bytes that keep start codes from appearing."""

    def __init__(self, unit: bytes):
        self.data = re.sub(b"\0\0\3", b"\0\0", unit[2:LONGEST_HEADER])
        self.place = 0

    def take(self, count: int) -> int:
        value = 0
        for place in range(self.place, self.place + count):
            value = value << 1 | self.data[place >> 3] >> (7 - place % 8) & 1
        self.place += count
        return value

    def flag(self) -> bool:
        return bool(self.take(1))

    def golomb(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise BadStream("the HEVC payload holds a number of more than 32 bits; ask for the stream again")
        return (1 << zeros) - 1 + self.take(zeros)

    def signed_golomb(self) -> int:
        value = self.golomb()
        return (value + 1) // 2 if value % 2 else -(value // 2)


def _picture(sps: _Bits, pps: _Bits, segment: _Bits) -> Picture:
    width, height, chroma, sao = _read_sps(sps)
    init_qp, extra_bits, output_flag, qp_varies = _read_pps(pps)
    _require(segment.flag(), "does not begin with its first slice")
    segment.take(1)  # no_output_of_prior_pics_flag
    _require(segment.golomb() == 0, "refers to parameters it does not hold")
    segment.take(extra_bits)
    _require(segment.golomb() == 2, "is not intra coded")
    segment.take(output_flag + (sao and (2 if chroma else 1)))
    return Picture(width, height, chroma, init_qp + segment.signed_golomb(), qp_varies)


def _read_sps(bits: _Bits) -> tuple[int, int, int, bool]:
    """Width, height, chroma format, and whether slices begin with flags of the sample-adaptive offset."""
    bits.take(4)
    layers = bits.take(3)
    bits.take(1)  # sps_temporal_id_nesting_flag
    _skip_profile(bits, layers)
    _require(bits.golomb() == 0, "refers to parameters it does not hold")
    chroma = bits.golomb()
    _require(chroma in (0, 1), "is neither grey nor 4:2:0")
    width, height = bits.golomb(), bits.golomb()
    _require(not bits.flag() or not any(bits.golomb() for _ in range(4)), "is cropped")
    _require((bits.golomb(), bits.golomb()) == (0, 0), "is not eight bits deep")
    bits.golomb()  # log2_max_pic_order_cnt_lsb_minus4
    entries = 1 + layers if bits.flag() else 1
    for _ in range(3 * entries + 6):  # how pictures are ordered; then sizes of coding and transform blocks
        bits.golomb()
    _require(not bits.flag(), "has scaling lists")
    bits.take(1)  # amp_enabled_flag
    return width, height, chroma, bits.flag()


def _skip_profile(bits: _Bits, layers: int) -> None:
    """profile_tier_level(), with what it says of temporal layers below the highest."""
    bits.take(88 + 8)
    present = [(bits.flag(), bits.flag()) for _ in range(layers)]
    bits.take(2 * (8 - layers) if layers else 0)
    for profile, level in present:
        bits.take(88 * profile + 8 * level)


def _read_pps(bits: _Bits) -> tuple[int, int, bool, bool]:
    """26 + init_qp_minus26, extra bits and output flag in slice headers, and whether blocks have QPs of their own."""
    _require((bits.golomb(), bits.golomb()) == (0, 0), "refers to parameters it does not hold")
    bits.take(1)  # dependent_slice_segments_enabled_flag
    output_flag, extra_bits = bits.flag(), bits.take(3)
    bits.take(2)  # sign_data_hiding_enabled_flag, cabac_init_present_flag
    _ = bits.golomb(), bits.golomb()  # reference pictures, which an intra picture has not
    init_qp = 26 + bits.signed_golomb()
    bits.take(2)  # constrained_intra_pred_flag, transform_skip_enabled_flag
    return init_qp, extra_bits, output_flag, bits.flag()


def _require(good: bool, complaint: str) -> None:
    if not good:
        raise BadStream(f"the HEVC picture {complaint}; ask for the stream again")
