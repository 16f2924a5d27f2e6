"""What the release leaves behind for a photo, and what Maya, ZBrush and Blender take besides: meshes, texture, maps.

`docs/methods/facescape.md` says how each program reads them. Millimetres are the model's own frame in the release's
files and the head frame in all others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from likeness.atomic import atomic_path, write_text
from likeness.errors import InputError
from likeness.face import Face
from likeness.files.maps import write_displacement, write_exr
from likeness.files.obj import write_obj
from likeness.heads.facescape import FaceScapeHead
from likeness.heads.facescape_expressions import FACESCAPE_NAMES, FACESCAPE_TO_ARKIT, KEY_EXPRESSIONS
from likeness.methods.facescape.displacement import (
    REACH_MM,
    STEP_MM,
    ZERO,
    detailed_mesh,
    output_to_map,
    output_to_mm,
    steps_to_mm,
)
from likeness.methods.facescape.following import KEY_WEIGHTS, OUTPUTS, blended_output
from likeness.methods.facescape.method import TEXTURE, TEXTURE_CORNER
from likeness.methods.facescape.texture import SIZE
from likeness.topology import Mesh, Topology

_MTL = (
    "newmtl material_0\nKa 0.200000 0.200000 0.200000\nKd 0.000000 0.000000 0.000000\nKs 1.000000 1.000000 1.000000\n"
    "Tr 0.000000\nillum 2\nNs 0.000000\nmap_Kd ./{base}.jpg"
)
_JPEG_QUALITY = 95  # what the release's image library writes unasked


def write_outputs(folder: str | Path, face: Face, *, base: str = "face", n_subdivisions: int = 3) -> list[Path]:
    """Everything for one Face of this method into an existing folder; the paths written.

    ``BASE.obj``, ``BASE.obj.mtl``, ``BASE.jpg`` and ``BASE_dpmap.png`` (``BASE_dpmap_0.png`` … with the rig option)
    are the release's own. Beside them: ``BASE_displacement.exr`` (mm; with the rig option
    ``BASE_displacement_NAME.exr`` for each key expression), ``BASE_detailed.obj``, the subdivided and displaced front
    surface, and ``BASE_facescape.json``: value scales, names, and with the rig option α̂. ``n_subdivisions`` is the
    detailed mesh's.

    Raises InputError on a Face of another method, OutputError when something cannot be written.
    """
    if face.method != "facescape" or OUTPUTS not in face.codes:
        raise InputError(f"these files are made from a Face of the method 'facescape'; this one is of '{face.method}'.")
    folder = Path(folder)
    written = write_release_mesh(folder, face, base)
    written += write_maps(folder, face, base)
    written.append(folder / f"{base}_detailed.obj")
    write_obj(written[-1], detailed(face, n_subdivisions=n_subdivisions))
    written.append(folder / f"{base}_facescape.json")
    write_text(written[-1], json.dumps(_record(face), indent=1) + "\n")
    return written


def write_release_mesh(folder: Path, face: Face, base: str) -> list[Path]:
    """The front surface as in the photo, without pose, in the model's frame; its material and its 4096² texture."""
    head = cast(FaceScapeHead, face.head)
    vertices = (face.vertices.double().cpu() + head.origin.cpu()).numpy()[head.tables.front_vertices]
    paths = [folder / f"{base}.obj", folder / f"{base}.obj.mtl", folder / f"{base}.jpg"]
    write_text(paths[0], obj_text(vertices, head, base))
    write_text(paths[1], _MTL.format(base=base))
    with atomic_path(paths[2]) as temporary:
        Image.fromarray(whole_texture(face)).save(temporary, "JPEG", quality=_JPEG_QUALITY)
    return paths


def obj_text(vertices: Float[np.ndarray, "F 3"], head: FaceScapeHead, base: str) -> str:
    """The release's OBJ: no normals, texture coordinates with seams, one material."""
    tables = head.tables
    lines = [f"mtllib ./{base}.obj.mtl"]
    lines += ["v %.6f %.6f %.6f" % tuple(vertex) for vertex in vertices.tolist()]  # noqa: UP031 - thousands of lines
    lines += ["vt %.6f %.6f" % tuple(uv) for uv in tables.front_uv.tolist()]  # noqa: UP031
    lines.append("usemtl material_0")
    corners = np.stack([tables.front_triangles, tables.front_uv_triangles], -1).reshape(-1, 6) + 1
    lines += ["f %d/%d %d/%d %d/%d" % tuple(row) for row in corners.tolist()]  # noqa: UP031
    return "\n".join(lines) + "\n"


def whole_texture(face: Face) -> UInt8[np.ndarray, "4096 4096 3"]:
    """The texture in the full chart, black where nothing was drawn."""
    texture = np.zeros((SIZE, SIZE, 3), np.uint8)
    drawn = face.codes[TEXTURE].cpu().numpy()
    row, column = face.codes[TEXTURE_CORNER].tolist()
    texture[row : row + drawn.shape[0], column : column + drawn.shape[1]] = drawn
    return texture


def write_maps(folder: Path, face: Face, base: str) -> list[Path]:
    """Displacement as 16-bit PNG, the release's to the step, and as float EXR in mm."""
    outputs = face.codes[OUTPUTS].cpu()
    endings = ["_dpmap"] if len(outputs) == 1 else [f"_dpmap_{i}" for i in range(len(outputs))]
    names = [""] if len(outputs) == 1 else [f"_{name}" for name in KEY_EXPRESSIONS]
    written = []
    for output, ending, name in zip(outputs, endings, names, strict=True):
        written += [folder / f"{base}{ending}.png", folder / f"{base}_displacement{name}.exr"]
        millimetres = steps_to_mm(output_to_map(output)).astype(np.float64)
        write_displacement(written[-2], millimetres, scale=STEP_MM, offset=-REACH_MM)
        write_exr(written[-1], output_to_mm(output).numpy())
    return written


def detailed(face: Face, *, n_subdivisions: int = 3, weights: dict[str, float] | None = None) -> Mesh:
    """The front surface with its wrinkles in the mesh itself: subdivided and displaced, head frame, mm.

    As in the photo, or for blendshape ``weights`` by name (those not named are zero) on a Face with the rig option.
    """
    head = cast(FaceScapeHead, face.head)
    if weights is None:
        expression = face.expression
    else:
        unknown = sorted(set(weights) - set(head.expression_names))
        if unknown:
            raise InputError(f"this head has no blendshape named {', '.join(unknown)}.")
        expression = torch.tensor([weights.get(name, 0.0) for name in head.expression_names])
    rig = KEY_WEIGHTS in face.codes
    output = blended_output(face, expression) if rig else face.codes[OUTPUTS][0]
    front = head.vertices(face.identity[None], expression[None])[0].cpu().numpy()[head.tables.front_vertices]
    found = detailed_mesh(front, head.tables, output_to_mm(output).numpy(), n_subdivisions=n_subdivisions)
    topology = Topology(triangles=found.triangles, uv=found.uv, uv_triangles=found.triangles)
    return Mesh(found.vertices, topology)


def _record(face: Face) -> dict:
    record = {
        "displacement": {
            "millimetres_per_step": STEP_MM,
            "zero": ZERO,
            "reach_mm": REACH_MM,
            "maya": {
                "colour_space": "Raw",
                "alpha_is_luminance": True,
                "alpha_gain": 2 * REACH_MM,
                "alpha_offset": -REACH_MM,
            },
            "blender": {"colour_space": "Non-Color", "midlevel": 0.5, "strength": 2 * REACH_MM},
            "zbrush": {"intensity": 0.014},
        },
        "expressions": {name: FACESCAPE_TO_ARKIT[name] for name in FACESCAPE_NAMES},
        "weights": {name: round(value, 5) for name, value in face.weights.items()},
    }
    if KEY_WEIGHTS in face.codes:
        rows = face.codes[KEY_WEIGHTS].tolist()
        record["key_expressions"] = {
            key: {name: round(value, 4) for name, value in zip(face.head.expression_names, row, strict=True) if value}
            for key, row in zip(KEY_EXPRESSIONS, rows, strict=True)
        }
    return record
