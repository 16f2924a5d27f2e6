"""ARKit's 52 blendshapes on any head: those of the open head, carried over by deformation transfer.

They are carried for the person: the open head is bent onto this very neutral face first, so shapes have its proportions
and lids and lips meet on it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.linalg import splu

from likeness.heads.contacts import open_contacts
from likeness.heads.correspondence import registration_of
from likeness.heads.deformation_transfer import DeformationTransfer, FaceParts, SourceShapes
from likeness.heads.open_head import load_open_head
from likeness.heads.protocol import Head
from likeness.heads.registration import Registration, template_stiffness
from likeness.heads.surfaces import Template
from likeness.meshes import uniform_laplacian

# How smoothly the bent open head follows a person's shape and fills in what the mesh does not show; and a trace of it,
# where the mesh's own movement is to be kept as it is.
_STIFFNESS, _FILLING = 0.1, 1e-4


def carried_shapes(head: Head, neutral: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "52 V 3"]:
    """The open head's shapes, in its order, on a person's neutral face of another head: displacements in mm.

    Raises InputError for a head without landmarks.
    """
    registration, triangles = registration_of(head), head.topology.triangles
    on_template = _open_transfer().onto(person_template(registration, triangles, neutral))
    return to_vertices(registration, triangles, on_template)


def moves_only_loose_parts(name: str) -> bool:
    """Whether a shape of the open head moves nothing but tongue and teeth, which no other head has."""
    head, template = load_open_head(), Template.of_open_head()
    return not _open_source().shapes[head.expression_names.index(name)][~template.loose].any()


def person_template(
    registration: Registration, triangles: Int[np.ndarray, "T 3"], neutral: Float[np.ndarray, "V 3"]
) -> Float[np.ndarray, "N 3"]:
    """The open head's vertices on a person's neutral face (mm); parts the mesh lacks follow the others smoothly."""
    moved = registration.open_to_head.of(neutral.astype(np.float64), triangles) - registration.base
    return registration.template + _filled_in(registration, moved[None], _STIFFNESS)[0]


def on_template(
    registration: Registration, triangles: Int[np.ndarray, "T 3"], fields: Float[np.ndarray, "K V 3"]
) -> Float[np.ndarray, "K N 3"]:
    """Displacements given at a head's vertices, at the open head's; parts the head lacks follow the others smoothly."""
    return _filled_in(registration, registration.open_to_head.of(fields, triangles), _FILLING)


def _filled_in(
    registration: Registration, fields: Float[np.ndarray, "K N 3"], stiffness: float
) -> Float[np.ndarray, "K N 3"]:
    """Fields as they are where the head has a counterpart, and smooth between and beyond."""
    seen = registration.open_covered.astype(np.float64)
    if seen.all():
        return fields
    system = sparse.csc_array(stiffness * template_stiffness() + sparse.diags_array(seen))
    factor = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0)
    flat = (seen[:, None] * fields).transpose(1, 0, 2).reshape(len(seen), -1)
    return factor.solve(flat).reshape(len(seen), len(fields), 3).transpose(1, 0, 2)


def to_vertices(
    registration: Registration, triangles: Int[np.ndarray, "T 3"], on_template: Float[np.ndarray, "K N 3"]
) -> Float[np.ndarray, "K V 3"]:
    """Displacements given on the bent open head, at the other head's vertices.

    Vertices without counterpart take the harmonic continuation of those that have one.
    """
    moved = registration.head_to_open.of(on_template, load_open_head().topology.triangles)
    free = np.flatnonzero(~registration.head_covered)
    known = np.flatnonzero(registration.head_covered)
    if not len(free) or not len(known):
        return moved
    laplacian = uniform_laplacian(torch.from_numpy(np.ascontiguousarray(triangles, np.int64)), moved.shape[1])
    index, values = laplacian.indices().numpy(), laplacian.values().double().numpy()
    rows = sparse.csr_array((values, index), shape=(moved.shape[1],) * 2)[free]
    # Parts that nothing known touches stay where their nearest counterpart is: a trace of it holds every row.
    trace = 1e-6
    system = sparse.csc_array(rows[:, free] + trace * sparse.eye_array(len(free)))
    flat = moved.transpose(1, 0, 2).reshape(moved.shape[1], -1)
    flat[free] = splu(system).solve(trace * flat[free] - rows[:, known] @ flat[known])
    return flat.reshape(moved.shape[1], len(moved), 3).transpose(1, 0, 2)


@cache
def face_parts() -> FaceParts:
    """What deformation transfer must know of the open head."""
    template, region = Template.of_open_head(), load_open_head().topology.region
    lids = [(region(f"eyelid_upper_{s}") | region(f"eyelid_lower_{s}")) & ~template.hidden for s in ("left", "right")]
    balls = [region(f"eyeball_{s}") for s in ("left", "right")]
    return FaceParts(template.triangles, open_contacts(), np.stack(lids), np.stack(balls), region("face"))


@cache
def _open_source() -> SourceShapes:
    head = load_open_head()
    names, count = head.expression_names, head.n_expression
    with torch.no_grad():
        shapes = head.vertices(torch.zeros(count, head.n_identity), torch.eye(count)).double().numpy()
    neutral = Template.of_open_head().vertices
    closes_with = np.arange(count)
    closes_with[names.index("mouthClose")] = names.index("jawOpen")
    shapes = np.where(np.abs(shapes - neutral) > 1e-5, shapes - neutral, 0)
    return SourceShapes(neutral, shapes, closes_with)


@cache
def _open_transfer() -> DeformationTransfer:
    return DeformationTransfer(_open_source(), face_parts())
