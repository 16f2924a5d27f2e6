"""The turning head, as others read it: PyAV's own reader, Pillow's GIF."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL.GifImagePlugin import GifImageFile

from likeness.cameras import WeakPerspective
from likeness.errors import InputError
from likeness.face import Face
from likeness.results import write_meshes
from likeness.turntable import SECONDS, turntable_frames, write_turntable, yaws_of
from likeness.videos import VideoReader
from tiny_head import TinyHead


@pytest.fixture(scope="module")
def face() -> Face:
    """The tiny head, all red, in front of a weak-perspective camera."""
    head = TinyHead()
    camera = WeakPerspective(torch.diag(torch.tensor([1.0, -1, -1]))[None], torch.ones(1), torch.full((1, 2), 100.0))
    albedo = torch.zeros(3, 8, 8)
    albedo[0] = 0.8
    return Face(
        head=head,
        identity=torch.zeros(3),
        expression=torch.zeros(4),
        joints=torch.zeros(2, 3),
        camera=camera,
        image_size=(200, 200),
        method="test",
        confidence=1.0,
        albedo=albedo,
    )


def test_a_swing_ends_where_it_begins_and_repeats_its_way_back():
    yaws = yaws_of("swing", 120)
    assert yaws[0] == 0
    assert yaws.max() == 60 == -yaws.min()
    np.testing.assert_array_equal(yaws[1:30], yaws[59:30:-1])
    assert len(set(yaws)) == 61
    # It goes on over the seam as it went before.
    assert yaws[0] - yaws[-1] == pytest.approx(yaws[1] - yaws[0], abs=1e-6)


def test_a_full_turn_has_even_steps():
    np.testing.assert_allclose(np.diff(yaws_of("full", 90)), 4.0)


def test_coloured_and_clay_stand_side_by_side(face):
    frames = list(turntable_frames(face, fps=2, size=64))
    assert len(frames) == 2 * SECONDS
    left, right = np.split(frames[0].astype(int), 2, axis=1)
    middle = np.s_[28:36, 22:30]
    assert (left[middle][..., 0] > 3 * left[middle][..., 1]).all()
    assert np.abs(right[middle][..., 0] - right[middle][..., 1]).max() < 60
    assert frames[1].shape == frames[0].shape
    assert (frames[1] != frames[0]).any()
    np.testing.assert_array_equal(frames[1], frames[3])


def test_the_whole_head_stays_in_view(face):
    frames = np.stack(list(turntable_frames(face, fps=5, turn="full", size=64)))
    paper = frames[0, 0, 0]
    border = np.concatenate([frames[:, 0], frames[:, -1]], 1).reshape(-1, 3), frames[:, :, 0].reshape(-1, 3)
    for pixels in border:
        assert (pixels == paper).all()
    # One camera for all: the silhouette's height does not breathe (the tiny head is near a ball).
    heights = [(frame != paper).any((1, 2)).sum() for frame in frames]
    assert max(heights) - min(heights) <= 6


def test_without_albedo_there_is_clay_alone(face):
    (first, *_) = turntable_frames(dataclasses.replace(face, albedo=None), fps=1, size=64)
    assert first.shape == (64, 52, 3)


def test_relief_shows_in_the_clay(face):
    row, column = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    bumpy = dataclasses.replace(face, displacement=6 * torch.sin(row + 0.7 * column))
    smooth, rough = (next(turntable_frames(each, fps=1, size=64)).astype(int) for each in (face, bumpy))
    assert np.abs(smooth - rough)[:, 52:].mean() > 2


def test_film_and_gif_are_read_by_others(face, tmp_path):
    write_turntable(tmp_path / "turning.mp4", face, size=32)
    with VideoReader(tmp_path / "turning.mp4") as film:
        frames = list(film)
        assert (film.height, film.width) == (32, 52)
        assert film.fps == 30
    assert len(frames) == 30 * SECONDS
    write_turntable(tmp_path / "turning.gif", face, turn="full", size=32)
    with GifImageFile(tmp_path / "turning.gif") as gif:
        assert gif.info["loop"] == 0
        assert gif.n_frames == pytest.approx(20 * SECONDS, abs=2)  # Pillow joins pictures that are alike
        durations = 0
        for index in range(gif.n_frames):
            gif.seek(index)
            durations += gif.info["duration"]
    assert durations == 1000 * SECONDS


def test_as_formats_of_a_result_folder(face, tmp_path, monkeypatch):
    import likeness.turntable as turntable

    monkeypatch.setattr(turntable, "_FILM_SIZE", 32)
    monkeypatch.setattr(turntable, "_GIF_SIZE", 32)
    write_meshes(tmp_path, face, ["turntable", "turntable.gif"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["turntable.gif", "turntable.mp4"]


def test_what_cannot_be_made_is_said(face, tmp_path):
    with pytest.raises(InputError, match=r"\.mp4 or \.gif"):
        write_turntable(tmp_path / "turning.webm", face)
    with pytest.raises(InputError, match="swing, full"):
        turntable_frames(face, fps=1, turn="twice")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="16 or more"):
        write_turntable(tmp_path / "turning.gif", face, size=4)
    assert list(tmp_path.iterdir()) == []
