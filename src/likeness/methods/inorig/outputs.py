"""What the reference's demo writes, under our names: meshes and pictures of each photo, clips of a video."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor

from likeness.atomic import atomic_path
from likeness.errors import InputError
from likeness.files.ply import write_ply
from likeness.methods.inorig.driving import TrackedFrame
from likeness.methods.inorig.person import Person, View
from likeness.methods.inorig.pictures import crop_points, crop_to_photo, draw, geometry_colours, lit_colours
from likeness.methods.inorig.pose import CROP_SIZE
from likeness.methods.inorig.rig import MILLIMETRES, NeuralRig
from likeness.topology import Mesh, Topology
from likeness.videos import VideoWriter

PICTURES = ("photo", "overlay", "geometry", "albedo", "light", "neutral_pose")
CLIPS = ("input", "geometry", "colours", "albedo", "retargeted_geometry", "retargeted_colours", "retargeted_albedo")
_BACKDROP = (159, 160, 164)
# Pixels per millimetre of the picture without pose, and of pictures of a retargeted face.
_PLAIN_SCALE = 1.5


def write_person(folder: str | Path, person: Person) -> list[Path]:
    """For each photo ``01_<name>/``: its Face, meshes of the whole model and of the face region (PLY, mm, head frame,
    coloured by the albedo), and six pictures; and once the rig as ``rig.safetensors`` and ``rig.glb``.

    Raises OutputError when something cannot be written.
    """
    folder = Path(folder)
    written = []
    for number, (view, face) in enumerate(zip(person.views, person.faces, strict=True), start=1):
        place = folder / f"{number:02d}_{Path(view.photo.name).stem}"
        place.mkdir(parents=True, exist_ok=True)
        face.save(place / "face.safetensors")
        written.append(place / "face.safetensors")
        written += write_meshes(place, person, view)
        written += write_pictures(place, person, view)
    rig = person.faces[0].rig(blendshapes="native")
    for name in ("rig.safetensors", "rig.glb"):
        rig.save(folder / name)
        written.append(folder / name)
    return written


def write_meshes(folder: Path, person: Person, view: View) -> list[Path]:
    """``mesh_full.ply`` and ``mesh_face.ply`` of one photo's expression, from the neural rig itself."""
    vertices = person.rig.vertices(view.expression[None])[0].cpu().numpy()
    topology, colours = person.head.topology, view.albedo.cpu().numpy()
    whole = Mesh(vertices, topology, colours)
    part = cut_mesh(whole, topology.region("face"))
    paths = [folder / "mesh_full.ply", folder / "mesh_face.ply"]
    for path, mesh in zip(paths, (whole, part), strict=True):
        write_ply(path, mesh)
    return paths


def cut_mesh(mesh: Mesh, region: Bool[np.ndarray, " V"]) -> Mesh:
    """The vertices of a region and the triangles with all corners in it, both in their old order."""
    inside = region[mesh.triangles].all(1)
    number = np.cumsum(region) - 1
    colours = None if mesh.colours is None else mesh.colours[region]
    return Mesh(mesh.vertices[region], Topology(triangles=number[mesh.triangles[inside]]), colours)


def write_pictures(folder: Path, person: Person, view: View) -> list[Path]:
    """`PICTURES` of one photo, in the photo's own size; the one without pose is a crop's."""
    rig, photo = person.rig, view.photo.pixels
    triangles = face_triangles(rig)
    points = crop_to_photo(view.vertices, view.square)
    plain = crop_frame_without_pose(rig, view.expression)
    white = np.full((CROP_SIZE, CROP_SIZE, 3), 255, np.uint8)
    pictures = {
        "photo": photo,
        "overlay": draw(photo, points, triangles, view.colours),
        "geometry": draw(photo, points, triangles, geometry_colours(view.vertices, rig)),
        "albedo": draw(photo, points, triangles, view.albedo),
        "light": draw(photo, points, triangles, lit_colours(view.vertices, rig, view.light, None)),
        "neutral_pose": draw(white, crop_points(plain), triangles, geometry_colours(plain, rig)),
    }
    paths = []
    for name, picture in pictures.items():
        with atomic_path(folder / f"{name}.jpg") as temporary:
            Image.fromarray(picture).save(temporary, quality=95)
        paths.append(folder / f"{name}.jpg")
    return paths


def face_triangles(rig: NeuralRig) -> Int[Tensor, "T 3"]:
    """Triangles with all corners in the face region."""
    template = rig.template
    return template.triangles[template.face_region[template.triangles].all(1)]


def crop_frame_without_pose(rig: NeuralRig, expression: Float[Tensor, " 8"]) -> Float[Tensor, "N 3"]:
    """A rig seen from the front at a fixed scale, in the crop frame (px)."""
    return rig.object_vertices(expression[None])[0] * (_PLAIN_SCALE * MILLIMETRES)


def write_clips(
    folder: str | Path,
    frames: Iterable[tuple[UInt8[np.ndarray, "H W 3"], TrackedFrame]],
    rig: NeuralRig,
    *,
    fps: float,
    target: NeuralRig | None = None,
) -> list[Path]:
    """`CLIPS` of a tracked video as MP4 files, frame by frame; the retargeted ones only with a ``target`` rig.

    Raises InputError without frames, OutputError when something cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name in CLIPS if target is not None or not name.startswith("retargeted")]
    with ExitStack() as stack:
        writers = {name: stack.enter_context(VideoWriter(folder / f"{name}.mp4", fps=fps)) for name in names}
        n_frames = 0
        for picture, frame in frames:
            for name, drawn in (_own(picture, frame, rig) | _retargeted(picture, frame, target)).items():
                writers[name].write(drawn)
            n_frames += 1
        if n_frames == 0:
            raise InputError("The video has no frames, so there are no clips to write.")
    return [folder / f"{name}.mp4" for name in names]


def _own(picture: np.ndarray, frame: TrackedFrame, rig: NeuralRig) -> dict[str, np.ndarray]:
    geometry, colours, albedo = _drawn(picture, frame, rig)
    return {"input": picture, "geometry": geometry, "colours": colours, "albedo": albedo}


def _retargeted(picture: np.ndarray, frame: TrackedFrame, target: NeuralRig | None) -> dict[str, np.ndarray]:
    if target is None:
        return {}
    backdrop = np.broadcast_to(np.array(_BACKDROP, np.uint8), picture.shape)
    names = ("retargeted_geometry", "retargeted_colours", "retargeted_albedo")
    return dict(zip(names, _drawn(backdrop, frame, target), strict=True))


@torch.no_grad()
def _drawn(picture: np.ndarray, frame: TrackedFrame, rig: NeuralRig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A rig in the frame's expression, pose and light over a picture: geometry, colours, albedo."""
    vertices = frame.crop_vertices(rig)
    albedo = rig.albedo(frame.expression[None])[0]
    points, triangles = crop_to_photo(vertices, frame.square), face_triangles(rig)
    colours = lit_colours(vertices, rig, frame.light, albedo)
    looks = (geometry_colours(vertices, rig), colours, albedo)
    geometry, coloured, plain = (draw(picture, points, triangles, look) for look in looks)
    return geometry, coloured, plain
