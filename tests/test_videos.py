"""Videos: what is written is read back, turned, sought, and never half there."""

import struct
import subprocess
import sys
import textwrap

import av
import numpy as np
import pytest

from likeness.errors import ImageError, InputError, OutputError
from likeness.videos import VideoReader, VideoWriter

FPS = 25
N_FRAMES = 40


def gray(n, size=(48, 64)):
    """A frame that says which one it is by its brightness, with a bright top left corner."""
    pixels = np.full((*size, 3), 40 + 3 * n, np.uint8)
    pixels[: size[0] // 3, : size[1] // 4] = 250
    return pixels


def number(frame):
    return round((float(frame.pixels[-8:, -8:].mean()) - 40) / 3)


def with_tone(path):
    """A short mono AAC file."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        for start in range(0, 48000 * 3, 1024):
            samples = np.sin(np.arange(start, start + 1024) * 2 * np.pi * 440 / 48000).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    folder = tmp_path_factory.mktemp("video")
    path = folder / "counting.mp4"
    with VideoWriter(path, fps=FPS, sound_from=with_tone(folder / "tone.mp4")) as out:
        for n in range(N_FRAMES):
            out.write(gray(n))
    return path


def test_frames_come_back_in_order_with_their_times(video):
    with VideoReader(video) as reader:
        assert (reader.width, reader.height, reader.fps) == (64, 48, FPS)
        assert reader.n_frames_estimate == N_FRAMES
        assert reader.duration == pytest.approx(N_FRAMES / FPS, abs=0.05)
        for _ in range(2):  # a second time from the front
            frames = list(reader)
            assert [number(frame) for frame in frames] == list(range(N_FRAMES))
            np.testing.assert_allclose([frame.time for frame in frames], np.arange(N_FRAMES) / FPS, atol=1e-6)
    assert frames[0].pixels.dtype == np.uint8 and frames[0].pixels.shape == (48, 64, 3)
    np.testing.assert_allclose(frames[5].pixels[-20:, -20:].mean(axis=(0, 1)), 55, atol=2)  # lossy


@pytest.mark.parametrize(("start", "first"), [(0.0, 0), (0.04, 1), (0.59, 14), (0.6, 15), (1.56, 39), (99.0, 39)])
def test_seeking_finds_the_frame_on_show(video, start, first):
    with VideoReader(video) as reader:
        assert [number(f) for f in reader.frames(start=start)] == list(range(first, N_FRAMES))


def test_frames_are_decoded_as_they_are_asked_for(video):
    with VideoReader(video) as reader:
        assert number(next(iter(reader))) == 0
        assert number(next(reader.frames(start=1.0))) == 25


def test_sound_is_copied_up_to_the_last_picture(video):
    with av.open(str(video)) as container:
        (stream,) = container.streams.audio
        end = max(float((p.pts + p.duration) * p.time_base) for p in container.demux(stream) if p.pts is not None)
        assert end == pytest.approx(N_FRAMES / FPS, abs=0.05)  # the tone itself lasts 3 s
        assert stream.codec_context.name == "aac"


def test_silent_source_makes_a_silent_video(tmp_path, video):
    with VideoWriter(tmp_path / "silent.mp4", fps=FPS) as out:
        out.write(gray(0))
    with VideoWriter(tmp_path / "copy.mp4", fps=FPS, sound_from=tmp_path / "silent.mp4") as out:
        out.write(gray(0))
    with av.open(str(tmp_path / "copy.mp4")) as container:
        assert not container.streams.audio


def test_odd_sizes_gain_a_row_and_a_column(tmp_path):
    with VideoWriter(tmp_path / "odd.mp4", fps=30) as out:
        out.write(gray(10, (33, 47)))
    with VideoReader(tmp_path / "odd.mp4") as reader:
        assert (reader.height, reader.width) == (34, 48)
        assert number(next(iter(reader))) == 10


# The matrix of the track header (ISO/IEC 14496-12, 8.3.2), first four of its fixed-point numbers a, b, u, c, d.
MATRICES = {0: (1, 0, 0, 1), -1: (0, 1, -1, 0), 2: (-1, 0, 0, -1), 1: (0, -1, 1, 0)}


@pytest.mark.parametrize("quarters", MATRICES)
def test_phone_rotation_is_applied(tmp_path, video, quarters):
    """Counter-clockwise quarter turns: an upright iPhone writes a = d = 0, b = 1, c = -1, to be turned clockwise."""
    data = bytearray(video.read_bytes())
    a, b, c, d = MATRICES[quarters]
    at = data.index(struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), data.index(b"tkhd"))
    data[at : at + 20] = struct.pack(">5i", a * 65536, b * 65536, 0, c * 65536, d * 65536)
    (tmp_path / "phone.mp4").write_bytes(data)
    with VideoReader(tmp_path / "phone.mp4") as reader, VideoReader(video) as plain:
        turned, straight = next(iter(reader)).pixels, next(iter(plain)).pixels
        assert (reader.height, reader.width) == turned.shape[:2]
    np.testing.assert_array_equal(turned, np.rot90(straight, quarters))


def test_same_frames_same_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        with VideoWriter(tmp_path / name, fps=FPS) as out:
            for n in range(5):
                out.write(gray(n))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_failing_block_leaves_nothing(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(KeyError), VideoWriter(tmp_path / "a.mp4", fps=FPS) as out:
        out.write(gray(0))
        raise KeyError
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.mp4", b"old")]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
@pytest.mark.parametrize("n_frames", [1, 200])  # fails when the file is finished, or on the way
def test_a_write_that_the_system_cuts_short(tmp_path, n_frames):
    program = textwrap.dedent(f"""
        import resource, sys
        import numpy as np
        from likeness.errors import OutputError
        from likeness.videos import VideoWriter
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        noise = np.random.default_rng(0)
        try:
            with VideoWriter(sys.argv[1], fps=25) as out:
                for _ in range({n_frames}):
                    out.write(noise.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        except OutputError as error:
            print(error)
    """)
    path = tmp_path / "large.mp4"
    command = [sys.executable, "-c", program, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    (line,) = run.stdout.splitlines()
    assert line.startswith(f"large.mp4 cannot be written into the folder {tmp_path}")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written(tmp_path, video):
    with pytest.raises(InputError, match=r"\.mp4"):
        VideoWriter(tmp_path / "a.avi", fps=FPS)
    with pytest.raises(InputError, match="frames per second"):
        VideoWriter(tmp_path / "a.mp4", fps=0)
    with pytest.raises(InputError, match="without frames"), VideoWriter(tmp_path / "a.mp4", fps=FPS):
        pass
    with pytest.raises(InputError, match="uint8"), VideoWriter(tmp_path / "a.mp4", fps=FPS) as out:
        out.write(np.zeros((4, 4, 3)))
    with pytest.raises(InputError, match="resize"), VideoWriter(tmp_path / "a.mp4", fps=FPS) as out:
        out.write(gray(0))
        out.write(gray(0, (20, 20)))
    with pytest.raises(OutputError, match="no such folder"), VideoWriter(tmp_path / "none" / "a.mp4", fps=FPS):
        pass
    silent = VideoWriter(tmp_path / "a.mp4", fps=FPS, sound_from=tmp_path / "none.mp4")
    with pytest.raises(ImageError, match="no such file"), silent:
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_video_is_refused_by_name(tmp_path, video):
    (tmp_path / "text.mp4").write_text("not a video, however long " * 50)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:100])
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")
    with_tone(tmp_path / "sound.mp4")
    for name in ("text.mp4", "empty.mp4", "cut.mp4", "list.mp4", "sound.mp4", "missing.mp4", ""):
        with pytest.raises(ImageError) as caught:
            VideoReader(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


def test_damage_in_the_middle_is_told_when_reached(tmp_path, video):
    data = video.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])  # the index stands in front
    with VideoReader(tmp_path / "cut.mp4") as reader:
        seen = []
        try:
            seen += [number(frame) for frame in reader]
        except ImageError as error:
            assert "cut.mp4" in str(error)
        assert len(seen) < N_FRAMES


def write_unevenly(path, times_ms):
    """A film whose frame k is a gray of 20 k, shown from the given time."""
    from fractions import Fraction

    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for k, time in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 20 * k, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_uneven_films_are_shown_at_an_even_rate(tmp_path):
    # Ten frames in a second, but the fourth lasts long and three follow fast.
    write_unevenly(tmp_path / "vfr.mp4", [0, 100, 200, 300, 600, 633, 666, 700, 800, 900])
    with VideoReader(tmp_path / "vfr.mp4") as video:
        assert video.fps == pytest.approx(10, rel=0.12)
        frames = list(video.steady())
        shown = [round(float(frame.pixels.mean()) / 20) for frame in frames]
        again = [round(float(frame.pixels.mean()) / 20) for frame in video.steady(first=4)]
        times = [frame.time for frame in frames]
    assert shown[:3] == [0, 1, 2] and shown.count(3) == 3 and shown == sorted(shown)
    assert again == shown[4:]
    np.testing.assert_allclose(np.diff(times), 1 / video.fps, atol=1e-6)


def test_even_films_are_shown_as_they_are(tmp_path):
    with VideoWriter(tmp_path / "cfr.mp4", fps=25) as out:
        for k in range(7):
            out.write(np.full((16, 16, 3), 30 * k, np.uint8))
    with VideoReader(tmp_path / "cfr.mp4") as video:
        assert [f.pixels.tobytes() for f in video.steady()] == [f.pixels.tobytes() for f in video]
        assert len(list(video.steady(first=6))) == 1 and not list(video.steady(first=7))


def test_a_camera_that_is_not_there_is_said_to_be(monkeypatch):
    from likeness.videos import CameraReader

    with pytest.raises(ImageError, match="camera 97"):
        CameraReader(97)
    monkeypatch.setattr("platform.system", lambda: "Windows")
    monkeypatch.delenv("LIKENESS_CAMERA", raising=False)
    with pytest.raises(ImageError, match="LIKENESS_CAMERA"):
        CameraReader(0)
    monkeypatch.setattr("platform.system", lambda: "Plan 9")
    with pytest.raises(ImageError, match="Plan 9"):
        CameraReader(0)
