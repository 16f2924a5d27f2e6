"""Videos in and out, a frame at a time: upright 8-bit RGB with time stamps, through FFmpeg's libraries (PyAV)."""

import itertools
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import av.error
import numpy as np
from jaxtyping import UInt8

from likeness.atomic import atomic_path
from likeness.errors import ImageError, InputError, OutputError
from likeness.images import MAX_PIXELS

_SAME_TIME = 1e-4
"""Seconds: far less than a frame, more than the rounding of time stamps to floats."""

_UNSPECIFIED = 2
"""FFmpeg's AVCOL_SPC_UNSPECIFIED."""


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One picture of a video."""

    pixels: UInt8[np.ndarray, "H W 3"]
    time: float
    """Seconds since the first frame of the video."""


class VideoReader:
    """The frames of a video file, decoded as they are asked for; turned as the file says.

    ``with VideoReader("talk.mp4") as video: for frame in video: ...``. Every iteration starts from the front. Raises
    `ImageError` when the file is missing, damaged from the start, or has no pictures; a file that is damaged later on
    raises it when that place is reached.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._path = Path(path)
        self._container: Any = _open(self._path)
        try:
            self._stream = self._container.streams.video[0]
        except IndexError:
            self._container.close()
            raise ImageError(f"{self._path}: a file without pictures; give a video.") from None
        self._stream.thread_type = "AUTO"
        if self._stream.width * self._stream.height > MAX_PIXELS:
            self._container.close()
            raise ImageError(
                f"{self._path}: pictures of more than {MAX_PIXELS:,} pixels; give a smaller version of it."
            )
        first = next(self._decode(), None)
        if first is None:
            self._container.close()
            raise ImageError(f"{self._path}: no picture in it can be decoded; copy it again or convert it to MP4.")
        self._start = _seconds(first)
        pixels = _upright(first)
        self.height: int = pixels.shape[0]
        """Pixels, once upright."""
        self.width: int = pixels.shape[1]

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()

    @property
    def fps(self) -> float:
        """Frames per second on average; phones' rates vary, so trust the frames' own times."""
        return float(self._rate)

    @property
    def duration(self) -> float | None:
        """Seconds, where the file says."""
        if self._stream.duration is not None:
            return float(self._stream.duration * self._stream.time_base)
        return None if self._container.duration is None else self._container.duration / av.time_base

    @property
    def n_frames_estimate(self) -> int | None:
        """How many frames to expect (for a progress bar), where the file says how long it lasts.

        The file's own count is not used: it includes frames that an edit list hides.
        """
        return None if self.duration is None else max(1, round(self.duration * self.fps))

    def __iter__(self) -> Iterator[VideoFrame]:
        return self.frames()

    def frames(self, *, start: float = 0.0) -> Iterator[VideoFrame]:
        """The frames from the one on show at `start` seconds onwards. One iteration at a time."""
        self._seek(start)
        on_show: VideoFrame | None = None  # the newest frame that is not after `start`
        for frame in self._decode():
            current = VideoFrame(_upright(frame), _seconds(frame) - self._start)
            if current.time <= start + _SAME_TIME:
                on_show = current
                continue
            if on_show is not None:
                yield on_show
                on_show = None
            yield current
        if on_show is not None:
            yield on_show

    def steady(self, *, first: int = 0) -> Iterator[VideoFrame]:
        """Frames at an even rate, from number `first`: number i is the picture on show at i / fps.

        Phones record at uneven rates; here pictures are repeated or left out so that sound and motion keep in step.
        """
        frames = self.frames(start=max(0.0, (first - 0.5) / self.fps))
        number, on_show = first, next(frames, None)
        for coming in itertools.chain(frames, [None]):
            if on_show is None:
                return
            # Half a frame of grace, since time stamps are rounded; the last picture is shown for one frame.
            shown_until = on_show.time + 1 / self.fps if coming is None else coming.time
            while number / self.fps < shown_until - 0.5 / self.fps:
                yield VideoFrame(on_show.pixels, number / self.fps)
                number += 1
            on_show = coming

    @property
    def _rate(self) -> Fraction:
        return self._stream.average_rate or self._stream.guessed_rate or Fraction(25)

    def _seek(self, start: float) -> None:
        target = int((start + self._start) / float(self._stream.time_base))
        try:
            self._container.seek(max(target, 0), stream=self._stream, backward=True)
        except av.error.FFmpegError as error:
            raise ImageError(f"{self._path}: cannot be wound to {start:g} s ({error.strerror}).") from error

    def _decode(self) -> Iterator[Any]:
        try:
            for frame in self._container.decode(self._stream):
                if frame.width * frame.height > MAX_PIXELS:
                    raise ImageError(f"{self._path}: pictures of more than {MAX_PIXELS:,} pixels.")
                yield frame
        except av.error.FFmpegError as error:
            raise ImageError(
                f"{self._path}: damaged ({error.strerror}); copy it again, or cut it before that place."
            ) from error


class VideoWriter:
    """An H.264 MP4 (yuv420p, which every player shows), frame by frame; the file appears when the block ends well.

    ``with VideoWriter("out.mp4", fps=video.fps, sound_from="talk.mp4") as out: out.write(pixels)``. Odd sizes gain a
    row or column by repeating the last one, since yuv420p needs even sizes. `sound_from` names a video whose sound is
    copied as it is, up to the end of the pictures. `crf` is x264's quality: 0 is lossless, 18 hardly visible, 23 small;
    `preset` its speed ("medium", "veryfast" …): a faster one makes larger files.
    Raises `InputError`, `ImageError` for the source of the sound, and `OutputError`.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        fps: float | Fraction,
        sound_from: str | os.PathLike | None = None,
        crf: int = 18,
        preset: str = "medium",
    ) -> None:
        self._path = Path(path)
        if self._path.suffix.lower() != ".mp4":
            raise InputError(f"{self._path}: videos are written as .mp4; choose such a name.")
        if not 0 < fps <= 1000:
            raise InputError(f"{self._path.name}: {fps} frames per second cannot be written; give more than 0.")
        self._fps = Fraction(fps).limit_denominator(1001)
        self._crf, self._preset = crf, preset
        self._sound_from = None if sound_from is None else Path(sound_from)
        self._resources = ExitStack()
        self._container: Any = None
        self._video: Any = None
        self._size: tuple[int, int] | None = None
        self._n_frames = 0
        self._sound: _Sound | None = None

    def __enter__(self) -> "VideoWriter":
        temporary = self._resources.enter_context(atomic_path(self._path))
        try:
            options = {"movflags": "+faststart", "fflags": "+bitexact"}
            self._container = self._resources.enter_context(av.open(str(temporary), "w", format="mp4", options=options))
            self._video = self._container.add_stream("libx264", rate=self._fps)
            self._video.pix_fmt = "yuv420p"
            self._video.options = {"crf": str(self._crf), "preset": self._preset}
            if self._sound_from is not None:
                self._sound = self._resources.enter_context(_Sound(self._sound_from, self._container))
        except BaseException as error:
            self._resources.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._resources:
                if error is not None:
                    raise error  # through the resources, so that the temporary file goes
                if self._size is None:
                    raise InputError(f"{self._path}: a video without frames cannot be written; write at least one.")
                self._mux(self._encode(None))
                self._mux_sound()
        except av.error.FFmpegError as failure:
            raise self._output_error(failure) from failure

    def write(self, pixels: UInt8[np.ndarray, "H W 3"]) -> None:
        """Append a frame; all frames of a video have one size."""
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
            raise InputError(f"A video frame is (H, W, 3) uint8, not {pixels.shape} {pixels.dtype}; convert it first.")
        if self._size is None:
            self._size = pixels.shape[:2]
            self._video.height, self._video.width = (n + n % 2 for n in self._size)
        if pixels.shape[:2] != self._size:
            raise InputError(
                f"A video of {self._size} (height, width) was given a frame of {pixels.shape[:2]}; resize it."
            )
        height, width = self._size
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame.pts, frame.time_base = self._n_frames, 1 / self._fps
        try:
            self._mux(self._encode(frame))
            self._n_frames += 1
            self._mux_sound()
        except av.error.FFmpegError as error:
            raise self._output_error(error) from error

    def _encode(self, frame: Any) -> Any:
        return self._video.encode(frame)

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            self._container.mux(packet)

    def _mux_sound(self) -> None:
        """Sound keeps pace with the pictures, so that players need not search."""
        if self._sound is not None:
            self._mux(self._sound.packets_until(float(self._n_frames / self._fps)))

    def _output_error(self, error: av.error.FFmpegError) -> OutputError:
        return OutputError(
            f"{self._path.name} cannot be written into the folder {self._path.parent} ({error.strerror}); free some "
            "space or choose another folder."
        )


class _Sound:
    """The sound of a file, packet by packet, for another container."""

    def __init__(self, path: Path, target: Any) -> None:
        self._container: Any = _open(path)
        self._packets: Iterator[Any] = iter(())
        if not self._container.streams.audio:
            return  # a silent source makes a silent copy
        stream = self._container.streams.audio[0]
        try:
            self._target = target.add_stream_from_template(stream)
        except (av.error.FFmpegError, ValueError) as error:
            self._container.close()
            raise InputError(
                f"{path}: its sound ({stream.codec_context.name}) cannot go into an MP4; convert it to AAC first."
            ) from error
        self._packets = (packet for packet in self._container.demux(stream) if packet.dts is not None)

    def __enter__(self) -> "_Sound":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def packets_until(self, time: float) -> Iterator[Any]:
        """Those that begin before `time` seconds and were not yet taken."""
        for packet in self._packets:
            if float(packet.dts * packet.time_base) >= time:
                self._packets = itertools.chain([packet], self._packets)
                return
            packet.stream = self._target
            yield packet


class CameraReader:
    """The frames of a camera of this computer, as they come; number 0 is the first.

    ``with CameraReader(0) as camera: for frame in camera: ...``; it goes on until it is left. Raises `ImageError` when
    there is no such camera or it cannot be opened.
    """

    def __init__(self, number: int = 0) -> None:
        self._number = number
        self._container: Any = _open_camera(number)
        self._stream = self._container.streams.video[0]
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 30)

    def __enter__(self) -> "CameraReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[VideoFrame]:
        start: float | None = None
        try:
            for frame in self._container.decode(self._stream):
                start = _seconds(frame) if start is None else start
                yield VideoFrame(_upright(frame), _seconds(frame) - start)
        except av.error.FFmpegError as error:
            raise ImageError(f"camera {self._number} stopped ({error.strerror}); is it still connected?") from error


def _open_camera(number: int) -> Any:
    system = platform.system()
    kinds = {"Linux": "v4l2", "Darwin": "avfoundation", "Windows": "dshow"}
    if system not in kinds:
        raise ImageError(f"cameras are not known on {system}; record a video and give its file.")
    # DirectShow knows cameras by name alone; the variable names it.
    named = os.environ.get("LIKENESS_CAMERA")
    device = {"Linux": f"/dev/video{number}", "Darwin": str(number), "Windows": f"video={named}"}[system]
    if system == "Windows" and named is None:
        raise ImageError("name the camera in the environment variable LIKENESS_CAMERA, as Windows lists it.")
    try:
        return av.open(device, format=kinds[system])
    except (av.error.FFmpegError, ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(
            f"camera {number} ({device}) cannot be opened ({reason}); connect one, allow its use, or give a video file."
        ) from error


def _open(path: Path) -> Any:
    if path.is_dir():
        raise ImageError(f"{path}: a folder, not a video; give the videos in it.")
    if not path.is_file():
        raise ImageError(f"{path}: no such file; check the name.")
    try:
        # Only the file itself: playlists could lead to other files and to the network.
        return av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path}: not a video that can be read ({reason}); convert it to MP4.") from error


def _seconds(frame: Any) -> float:
    return 0.0 if frame.pts is None else float(frame.pts * frame.time_base)


def _upright(frame: Any) -> UInt8[np.ndarray, "H W 3"]:
    """Turned counter-clockwise by the file's display matrix, as players do (quarter turns)."""
    # Unmarked pictures of high definition are BT.709 by custom; FFmpeg's scaler would take them for BT.601.
    unmarked_hd = frame.colorspace == _UNSPECIFIED and min(frame.height, frame.width) >= 720
    rgb = frame.reformat(format="rgb24", src_colorspace="ITU709" if unmarked_hd else None)
    return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), round(frame.rotation / 90)))
