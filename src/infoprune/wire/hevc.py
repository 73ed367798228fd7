"""HEVC intra at an exact QP: libx265 through PyAV, Kvazaar through an ffmpeg binary.

Both encoders are separate programs with licences of their own; they are loaded or started only when asked for.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, ClassVar

import numpy as np

from infoprune.errors import BadStream, InfopruneError, MissingExtra
from infoprune.wire.codec import Codec, codecs
from infoprune.wire.headers import read_headers

# x265 codes intra pictures at qp - 3 unless ipratio is 1, and spreads QPs over blocks unless aq-mode and cutree are 0.
X265 = (
    "qp={qp}:ipratio=1.0:pbratio=1.0:keyint=1:min-keyint=1:scenecut=0:bframes=0:rc-lookahead=0:aq-mode=0:cutree=0:"
    "frame-threads=1:pools=none:wpp=0:info=0:log-level=none"
)
KVAZAAR = "qp={qp},period=1,preset=medium,threads=0,info=0"
STEP = 8  # both code whole blocks of 8 x 8
SMALLEST, LARGEST = 16, 8192
PATIENCE_S = 60


@codecs.register("hevc")
@dataclass(frozen=True)
class HEVC(Codec):
    """libx265, one grey intra picture at exactly this QP (0..51, larger is coarser). Needs `infoprune[hevc]`."""

    name: ClassVar[str] = "hevc"
    number: ClassVar[int] = 3
    has_qp: ClassVar[bool] = True

    qp: int

    def __post_init__(self) -> None:
        _check_qp(self.qp)

    def encode(self, picture: np.ndarray) -> bytes:
        return _checked(_x265(padded(picture), X265.format(qp=self.qp)), self.qp)

    def decode(self, data: bytes, height: int, width: int) -> np.ndarray:
        return decode_hevc(data, height, width, self.qp)


@codecs.register("hevc-lossless")
@dataclass(frozen=True)
class LosslessHEVC(Codec):
    """libx265 without any loss beyond the 8-bit quantisation. Needs `infoprune[hevc]`."""

    name: ClassVar[str] = "hevc-lossless"
    number: ClassVar[int] = 4

    def encode(self, picture: np.ndarray) -> bytes:
        return _x265(padded(picture), X265.format(qp=0) + ":lossless=1")

    def decode(self, data: bytes, height: int, width: int) -> np.ndarray:
        return decode_hevc(data, height, width)


@codecs.register("kvazaar")
@dataclass(frozen=True)
class Kvazaar(Codec):
    """Kvazaar, the paper's encoder, at exactly this QP. Needs an ffmpeg with libkvazaar: `infoprune[kvazaar]`.

    It takes no grey pictures, so that constant chroma goes along and costs a few bytes.
    """

    name: ClassVar[str] = "kvazaar"
    number: ClassVar[int] = 5
    has_qp: ClassVar[bool] = True

    qp: int

    def __post_init__(self) -> None:
        _check_qp(self.qp)

    def encode(self, picture: np.ndarray) -> bytes:
        grey = padded(picture)
        height, width = grey.shape
        command = [*_ffmpeg("libkvazaar"), "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}"]
        command += ["-i", "-", "-c:v", "libkvazaar", "-kvazaar-params", KVAZAAR.format(qp=self.qp), "-f", "hevc", "-"]
        done = _run(command, grey.tobytes() + bytes([128]) * (grey.size // 2))
        if done.returncode:
            raise InfopruneError(f"Kvazaar failed: {done.stderr.decode(errors='replace').strip()[:200]}")
        return _checked(done.stdout, self.qp)

    def decode(self, data: bytes, height: int, width: int) -> np.ndarray:
        return decode_hevc(data, height, width, self.qp)


def padded(picture: np.ndarray) -> np.ndarray:
    """The picture with its last row and column repeated up to whole blocks."""
    height, width = (_coded(side) for side in picture.shape)
    if max(height, width) > LARGEST:
        raise ValueError(f"a mosaic of {picture.shape} is more than HEVC's {LARGEST} a side; send fewer features")
    more = ((0, height - picture.shape[0]), (0, width - picture.shape[1]))
    return np.ascontiguousarray(np.pad(picture, more, mode="edge"))


def decode_hevc(data: bytes, height: int, width: int, qp: int | None = None) -> np.ndarray:
    """The grey values of an intra picture that is known to be `height` x `width` (and coded at `qp`).

    The headers are read first, so that a decoder never sees a size that was not asked for. By PyAV, or by an ffmpeg
    binary in a process of its own where PyAV is not installed.
    """
    headers = read_headers(data)
    if (headers.height, headers.width) != (_coded(height), _coded(width)):
        raise BadStream(
            f"the HEVC picture is {headers.height} x {headers.width} and was announced as {height} x {width}; "
            "ask for the stream again"
        )
    if qp is not None and (headers.qp, headers.qp_varies) != (qp, False):
        raise BadStream(f"the HEVC picture is coded at QP {headers.qp} and was announced at {qp}")
    decoder = _decode_by_av if _av() is not None else _decode_by_ffmpeg
    return decoder(data, headers.height, headers.width)[:height, :width]


def _coded(side: int) -> int:
    return max(SMALLEST, -(-side // STEP) * STEP)


def _check_qp(qp: int) -> None:
    if not isinstance(qp, int) or isinstance(qp, bool) or not 0 <= qp <= 51:
        raise ValueError(f"qp is {qp!r}; HEVC has the quantisation parameters 0 to 51")


def _checked(data: bytes, qp: int) -> bytes:
    headers = read_headers(data)
    if (headers.qp, headers.qp_varies) != (qp, False):
        raise InfopruneError(
            f"this encoder coded at QP {headers.qp} and was asked for {qp}; install another build of it"
        )
    return data


# ------------------------------------------------------------------------------------------------------- PyAV


def _av() -> Any:
    try:
        import av
    except ImportError:
        return None
    return av


def _x265(grey: np.ndarray, parameters: str) -> bytes:
    av = _av()
    if av is None:
        raise MissingExtra("HEVC needs PyAV, which is not installed; pip install 'infoprune[hevc]' or send with Zlib()")
    context = av.CodecContext.create("libx265", "w")
    context.height, context.width = grey.shape
    context.pix_fmt, context.time_base, context.framerate = "gray", Fraction(1, 25), 25
    context.options = {"preset": "medium", "tune": "psnr", "x265-params": parameters}
    context.thread_count = 1
    frame = av.VideoFrame.from_ndarray(grey, format="gray")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def _decode_by_av(data: bytes, height: int, width: int) -> np.ndarray:
    av = _av()
    context = av.CodecContext.create("hevc", "r")
    context.thread_count = 1
    context.options = {"err_detect": "explode"}
    packet = av.Packet(data)
    try:
        frames = [*context.decode(packet), *context.decode(None)]
    except (av.FFmpegError, ValueError) as error:
        raise BadStream(f"the HEVC payload can't be decoded ({error}); ask for the stream again") from error
    if len(frames) != 1 or (frames[0].height, frames[0].width) != (height, width):
        raise BadStream(f"the HEVC payload holds {len(frames)} pictures, not one; ask for the stream again")
    plane = frames[0].planes[0]  # converting to grey would stretch 4:2:0 pictures from 16..235 to 0..255
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, :width].copy()


# ------------------------------------------------------------------------------------------------ ffmpeg's binary


def _decode_by_ffmpeg(data: bytes, height: int, width: int) -> np.ndarray:
    command = [*_ffmpeg("hevc"), "-xerror", "-err_detect", "explode", "-threads", "1", "-f", "hevc", "-i", "-"]
    done = _run([*command, "-frames:v", "1", "-f", "rawvideo", "-"], data)
    if done.returncode or len(done.stdout) < height * width:
        complaint = done.stderr.decode(errors="replace").strip()[:200]
        raise BadStream(f"the HEVC payload can't be decoded ({complaint}); ask for the stream again")
    return np.frombuffer(done.stdout, np.uint8)[: height * width].reshape(height, width).copy()


def _run(command: list[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, input=data, capture_output=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise InfopruneError(f"ffmpeg did not end within {PATIENCE_S} s; send fewer or smaller features") from error


@cache
def _ffmpeg(codec: str) -> tuple[str, ...]:
    """The command of an ffmpeg that has this codec."""
    for program in _programs():
        listed = _run([program, "-hide_banner", "-codecs"], b"").stdout.decode(errors="replace")
        if codec in listed:
            return program, "-hide_banner", "-loglevel", "error"
    extra = "kvazaar" if codec == "libkvazaar" else "hevc"
    raise MissingExtra(f"there is no ffmpeg with {codec}; pip install 'infoprune[{extra}]' or send with Zlib()")


def _programs() -> list[str]:
    """The binary that imageio-ffmpeg brings, then the one on the PATH."""
    try:
        import imageio_ffmpeg

        brought = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        brought = None
    return [program for program in (brought, shutil.which("ffmpeg")) if program]
