"""Whole runs on small films of the astronaut: found, lost and found again; stopped and resumed; two at once."""

import json

import numpy as np
import pytest
import skimage.data

from likeness.errors import InputError, NoFaceError
from likeness.face import Face
from likeness.motion import Motion
from likeness.track_runs import TrackingOptions, track_people
from likeness.tracking import sightings
from likeness.videos import VideoReader, VideoWriter

N_FRAMES, LOST = 18, range(8, 11)
FAST = TrackingOptions(quality="fast")


def film(path, pictures, fps=12):
    with VideoWriter(path, fps=fps, crf=12) as out:
        for picture in pictures:
            out.write(np.ascontiguousarray(picture))
    return path


def astronaut():
    return skimage.data.astronaut()[:280, 90:370]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    picture = astronaut()
    pictures = [
        np.full_like(picture, 128) if k in LOST else np.roll(picture, (2 * k, k), (0, 1)) for k in range(N_FRAMES)
    ]
    return film(tmp_path_factory.mktemp("video") / "nod.mp4", pictures)


def run(video, out, options=FAST, progress=lambda *_: None):
    lines = []
    return track_people(video, out, options, report=lines.append, progress=progress), lines


@pytest.fixture(scope="module")
def tracked(video, tmp_path_factory):
    out = tmp_path_factory.mktemp("tracked") / "out"
    folders, lines = run(video, out)
    assert folders == [out] and lines == [f"{video} -> {out}"]
    return out


def test_everything_is_written_and_nothing_else(tracked):
    names = {path.name for path in tracked.iterdir()}
    assert names == {"face.safetensors", "motion.safetensors", "motion.csv", "head.glb", "overlay.mp4", "tracking.json"}
    face = Face.load(tracked / "face.safetensors")
    assert face.head.name == "open" and face.image_size == (280, 280)


def test_a_lost_face_is_held_and_found_again(tracked):
    motion = Motion.load(tracked / "motion.safetensors")
    assert len(motion) == N_FRAMES and motion.fps == 12
    np.testing.assert_array_equal(motion.confidence == 0, [k in LOST for k in range(N_FRAMES)])
    np.testing.assert_array_equal(motion.weights[10], motion.weights[7])
    summary = json.loads((tracked / "tracking.json").read_text())
    assert summary["frames"] == N_FRAMES and summary["held"] == [[8, 10]]
    # The picture slides by one and two pixels a frame: so does the head, to the right and down.
    moved = motion.position[-1] - motion.position[0]
    assert moved[0] > 5 and moved[1] < -10


def test_the_overlay_lasts_as_long_as_the_film(tracked, video):
    with VideoReader(tracked / "overlay.mp4") as clip, VideoReader(video) as original:
        drawn, plain = [frame.pixels for frame in clip], [frame.pixels for frame in original]
    assert len(drawn) == N_FRAMES and drawn[0].shape == plain[0].shape
    change = [np.abs(a.astype(int) - b).mean() for a, b in zip(drawn, plain, strict=True)]
    assert min(change[k] for k in range(N_FRAMES) if k not in LOST) > 2
    assert max(change[k] for k in LOST) < 1


def test_video_to_csv_to_glb_to_csv_loses_nothing(tracked, tmp_path):
    # Eighteen frames are one second and a half: the timecodes tell the rate.
    first = Motion.load(tracked / "motion.csv")
    Face.load(tracked / "face.safetensors").rig().save(tmp_path / "again.glb", motion=first)
    through = Motion.load(tmp_path / "again.glb")
    through.save(tmp_path / "again.csv")
    again = Motion.load(tmp_path / "again.csv")
    assert again.fps == first.fps == 12
    columns = [again.names.index(name) for name in first.names]
    np.testing.assert_array_equal(again.weights[:, columns], first.weights)
    np.testing.assert_allclose(again.head, first.head, atol=2e-6)
    np.testing.assert_allclose(again.eyes, first.eyes, atol=2e-6)
    in_file = Motion.load(tracked / "head.glb")
    np.testing.assert_allclose(in_file.eyes, first.eyes, atol=2e-6)


class Stop(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("when", [("finding faces", 10), ("solving", 8), ("drawing", 5)])
def test_a_stopped_run_goes_on_and_gives_the_same_bytes(video, tracked, tmp_path, monkeypatch, when):
    monkeypatch.setattr(sightings, "CHUNK", 4)
    whole = tmp_path / "whole"
    run(video, whole)
    started: list[tuple[str, int]] = []

    def stop(what, done, total):
        if (what, done) == when:
            raise Stop

    with pytest.raises(Stop):
        run(video, tmp_path / "out", progress=stop)
    assert not (tmp_path / "out/motion.csv").exists()
    run(video, tmp_path / "out", progress=lambda what, done, total: started.append((what, done)))
    if when[0] == "finding faces":
        # Chunks of four: eight frames were kept.
        assert started[0] == ("finding faces", 9)
    else:
        assert started[0][0] != "finding faces"
    assert {path.name for path in whole.iterdir()} == {path.name for path in (tmp_path / "out").iterdir()}
    for path in sorted(whole.iterdir()):
        # x264 does not give the same bytes for the same pictures every time.
        if path.suffix != ".mp4":
            assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes(), path.name
    assert not (tmp_path / "out/.tracking").exists()


def test_a_face_of_the_person_is_followed_with(video, tracked, tmp_path):
    options = TrackingOptions(quality="fast", rig=tracked / "face.safetensors", overlay=None)
    run(video, tmp_path / "out", options)
    given, found = (Face.load(folder / "face.safetensors") for folder in (tracked, tmp_path / "out"))
    np.testing.assert_array_equal(given.identity, found.identity)
    np.testing.assert_array_equal(given.offsets, found.offsets)
    assert not (tmp_path / "out/overlay.mp4").exists()


def test_two_people_get_a_folder_each(tmp_path):
    picture = astronaut()
    small = np.pad(picture[::2, ::2][:, ::-1], ((70, 70), (0, 0), (0, 0)), mode="edge")
    pictures = [np.concatenate([np.roll(picture, k, 0), small], 1) for k in range(8)]
    video = film(tmp_path / "two.mp4", pictures)
    options = TrackingOptions(quality="fast", overlay="clay", side_by_side=True)
    folders, _ = run(video, tmp_path / "out", options)
    assert folders == [tmp_path / "out/person-1", tmp_path / "out/person-2"]
    first, second = (Motion.load(folder / "motion.safetensors") for folder in folders)
    assert first.position[0, 0] < 0 < second.position[0, 0]
    with VideoReader(folders[0] / "overlay.mp4") as clip:
        assert clip.width == 2 * 420


def test_a_film_without_faces_is_refused(tmp_path):
    video = film(tmp_path / "gray.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 3)
    with pytest.raises(NoFaceError, match="no face in any of its 3 frames"):
        run(video, tmp_path / "out")
    assert not (tmp_path / "out/.tracking").exists()


def test_a_face_on_another_head_is_refused(tmp_path, video):
    import torch

    from likeness.cameras import WeakPerspective
    from tiny_head import TinyHead

    head = TinyHead()
    camera = WeakPerspective(torch.eye(3)[None], torch.ones(1), torch.zeros(1, 2))
    face = Face(head, torch.zeros(3), torch.zeros(4), torch.zeros(2, 3), camera, (10, 10), "x", 1.0)
    monkey = pytest.MonkeyPatch()
    monkey.setattr("likeness.track_runs.Face.load", staticmethod(lambda _: face))
    with pytest.raises(InputError, match="open head"):
        run(video, tmp_path / "out", TrackingOptions(rig=tmp_path / "face.safetensors"))
    monkey.undo()
