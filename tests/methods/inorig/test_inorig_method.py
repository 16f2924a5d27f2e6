"""From photos to files and back, as a user would: with a made-up face model and stand-in weights."""

from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from likeness.errors import InputError
from likeness.face import Face
from likeness.files.ply import read_ply
from likeness.landmarks import Landmarks
from likeness.methods.inorig.driving import blendshapes_of, motion_of
from likeness.methods.inorig.method import InorigMethod
from likeness.methods.inorig.outputs import CLIPS, PICTURES, cut_mesh, write_clips, write_person
from likeness.motion import Motion
from likeness.rig import Rig
from likeness.topology import Mesh
from methods.inorig.recorded import detected, method, model, network, photos

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def person():
    return method().person(photos(), detected())


@pytest.fixture(scope="module")
def other():
    return method().person(photos()[1:2], detected()[1:2])


def test_faces_of_one_person_share_the_head(person):
    assert len({face.head.version for face in person.faces}) == 1
    assert all(face.method == "inorig" and 0 < face.confidence <= 0.9 for face in person.faces)


def test_a_face_is_the_rig_where_the_descent_saw_it(person):
    for view, face in zip(person.views, person.faces, strict=True):
        exact = person.rig.vertices(view.expression[None])[0]
        lost = float((face.vertices - exact).square().sum(-1).mean().sqrt())
        assert lost == pytest.approx(face.residuals["blendshapes_here_mm"], abs=1e-3)
        seen = face.camera.project(exact[None])
        column = (view.vertices[:, 0] + 128.5) / view.square.zoom + view.square.left
        torch.testing.assert_close(seen[0, :, 0], column, atol=0.01, rtol=1e-4)


def test_landmarks_of_the_face_are_near_the_detected(person):
    for face, found in zip(person.faces, detected(), strict=True):
        distance = np.linalg.norm(face.landmarks("ibug68").image - found.points, axis=1)
        stated = face.residuals["landmarks_px"]
        assert np.sqrt(np.square(distance).mean()) == pytest.approx(stated, abs=0.6)


def test_repeating_gives_the_same(person):
    """With landmarks that carry a depth, as MediaPipe's do: it is not used."""
    with_depth = [replace(each, points=np.pad(each.points, ((0, 0), (0, 1)))) for each in detected()]
    again = method().person(photos(), with_depth)
    for a, b in zip(person.faces, again.faces, strict=True):
        torch.testing.assert_close(a.vertices, b.vertices, atol=1e-2, rtol=0)


def test_everything_written_can_be_read(person, tmp_path):
    written = write_person(tmp_path, person)
    assert all(path.is_file() for path in written)
    rig = Rig.load(tmp_path / "rig.safetensors")
    assert rig.blendshape_names == person.blendshapes.names
    for number, face in enumerate(person.faces, start=1):
        place = tmp_path / f"{number:02d}_photo{number - 1}"
        again = Face.load(place / "face.safetensors")
        assert torch.equal(again.vertices, face.vertices)
        codes = torch.ones(1, 8) * 0.1
        assert torch.equal(method().rig(again).vertices(codes), person.rig.vertices(codes))
        full, part = read_ply(place / "mesh_full.ply"), read_ply(place / "mesh_face.ply")
        assert len(full.vertices) == len(model().mean) and len(full.triangles) == len(model().triangles)
        assert len(part.vertices) == int(person.rig.template.face_region.sum())
        assert part.colours is not None
        for name in PICTURES:
            with Image.open(place / f"{name}.jpg") as picture:
                assert picture.size == (256, 256)
    mesh = Rig.load(tmp_path / "rig.safetensors").evaluate(person.faces[0].weights)
    np.testing.assert_allclose(mesh.vertices, person.faces[0].vertices.numpy(), atol=1e-3)


def test_video_to_motion_and_retarget(person, other, tmp_path):
    clip = [(photo, found) for photo, found in zip(photos(), detected(), strict=True)]
    clip.insert(1, (photos()[1], None))
    frames = list(method().track(person.rig, iter([(photos()[0], None), *clip])))
    assert [frame.found for frame in frames] == [
        True,
        False,
        True,
        True,
    ]  # what comes before the first face is left out
    assert torch.equal(frames[0].expression, frames[1].expression)
    assert all(frame.landmarks_px < 15 for frame in frames)

    motion = motion_of(frames, person.rig, person.blendshapes, fps=25.0)
    motion.save(tmp_path / "motion.safetensors")
    assert np.array_equal(Motion.load(tmp_path / "motion.safetensors").weights, motion.weights)
    carried = motion_of(frames, other.rig, blendshapes_of(other.head), fps=25.0)
    assert carried.names == other.blendshapes.names
    np.testing.assert_array_equal(carried.head, motion.head)
    assert not np.allclose(carried.weights, motion.weights)

    pictures = [photo.pixels for photo, _ in clip]
    paths = write_clips(tmp_path / "clips", zip(pictures, frames, strict=True), person.rig, fps=25, target=other.rig)
    assert [path.stem for path in paths] == list(CLIPS)
    decoded = {path.stem: [f.to_ndarray(format="rgb24") for f in av.open(str(path)).decode(video=0)] for path in paths}
    assert {len(clip) for clip in decoded.values()} == {4}
    assert decoded["input"][0].shape == (256, 256, 3)
    # The retargeted person stands before grey, the tracked one before the frame.
    assert np.abs(decoded["retargeted_geometry"][0][:8, :8].astype(int) - [159, 160, 164]).max() < 12
    assert np.abs(decoded["geometry"][0][:8, :8].astype(int) - decoded["input"][0][:8, :8]).max() < 12


def test_official_tracking(person):
    clip = [(photos()[i % 3], detected()[i % 3]) for i in range(5)]
    frame = next(method().track(person.rig, clip, compat="official"))
    assert bool(frame.expression.isfinite().all()) and frame.landmarks_px < 20


def test_official_tracking_needs_the_whole_clip(person):
    clip = [(photos()[0], detected()[0])] * 5
    with pytest.raises(InputError, match="list"):
        list(method().track(person.rig, iter(clip), compat="official"))
    with pytest.raises(InputError, match="face"):
        list(method().track(person.rig, [(photos()[0], None), *clip], compat="official"))
    with pytest.raises(InputError, match="face"):
        list(method().track(person.rig, [], compat="official"))


def test_official_crops_differ_and_work():
    official = InorigMethod.from_parts(network(), model(), device="cpu", compat="official")
    assert official.square(detected()[0].points) != method().square(detected()[0].points)
    face = official.reconstruct(photos()[0], detected()[0])
    assert bool(face.vertices.isfinite().all())


def test_wrong_arguments_are_named():
    with pytest.raises(InputError):
        method().person([], [])
    with pytest.raises(InputError):
        method().person(photos(), detected()[:2])
    with pytest.raises(InputError):
        method().reconstruct(photos()[0], Landmarks("five", np.zeros((5, 2), np.float32), 0.9))
    with pytest.raises(InputError):
        InorigMethod.from_parts(network(), model(), compat="oficial")  # type: ignore[arg-type]


def test_cutting_a_mesh_keeps_order_and_colours(person):
    topology = person.head.topology
    vertices = person.head.neutral.numpy()
    mesh = Mesh(vertices, topology, np.abs(vertices) / 200)
    part = cut_mesh(mesh, topology.region("face"))
    kept = np.nonzero(topology.region("face"))[0]
    np.testing.assert_array_equal(part.vertices, vertices[kept])
    assert part.colours is not None
    np.testing.assert_array_equal(part.colours, mesh.colours[kept])
    inside = np.isin(topology.triangles, kept).all(1)
    np.testing.assert_array_equal(kept[part.triangles], topology.triangles[inside])
