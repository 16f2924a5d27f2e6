"""A rig driven by a video file, from a Face on disk to motion and clips: a made-up model, stand-in weights."""

import numpy as np
import pytest
import skimage

import likeness
from likeness.errors import InputError
from likeness.motion import Motion
from likeness.track_runs import track_video
from likeness.videos import VideoReader, VideoWriter
from methods.inorig.recorded import detected, method, photos

N_FRAMES = 4


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "nod.mp4"
    picture = skimage.data.astronaut()[:320, 60:380]
    with VideoWriter(path, fps=25) as out:
        out.write(np.full_like(picture, 128))  # nobody yet
        for shift in range(N_FRAMES):
            out.write(np.roll(picture, 3 * shift, axis=0))
    return path


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    path = tmp_path_factory.mktemp("rig") / "face.safetensors"
    method().person(photos(), detected()).faces[0].save(path)
    return path


@pytest.mark.slow
def test_a_video_drives_a_rig(video, rig, tmp_path):
    lines = []
    track_video(video, rig, tmp_path / "out", method=method(), target=rig, report=lines.append)
    motion = Motion.load(tmp_path / "out/motion.safetensors")
    assert motion.weights.shape[0] == N_FRAMES and motion.fps == 25
    with VideoReader(tmp_path / "out/geometry.mp4") as clip:
        assert sum(1 for _ in clip) == N_FRAMES
    assert (tmp_path / "out/retargeted_geometry.mp4").exists()
    assert lines == [f"{video} -> {tmp_path / 'out'}"]


@pytest.mark.slow
def test_a_face_without_a_rig_is_refused(video, tmp_path):
    likeness.reconstruct(skimage.data.astronaut(), quality="fast")[0].save(tmp_path / "face.safetensors")
    with pytest.raises(InputError, match=r"--method inorig"):
        track_video(video, tmp_path / "face.safetensors", tmp_path / "out", method=method(), report=print)
    assert not (tmp_path / "out").exists()
