"""A fitted head pulled onto the landmarks it was fitted to.

A fit leaves the lips and lids a pixel or three beside the photo's. Where a texture is taken from the photo through the
mesh, so much puts teeth on lips. The rest is spread over the surface here, as a shift in the picture.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likeness.face import Face
from likeness.landmarks.conventions import to_ibug68

# Over how many mm of the surface a landmark's shift dies away, and how far it is believed to be exact (as a share of
# the prior's variance): lids and lips are close together and must be told apart.
_REACH_MM, _NOISE = 14.0, 0.03
# A shift beyond this share of the head's height in the photo is no residual but a wrong fit.
_LARGEST = 0.06
_N_CONTOUR = 17


def landmark_shifts(face: Face) -> Float[Tensor, "V 2"]:
    """For each vertex the shift, in pixels of the photo, that carries the head's landmarks to the detected ones.

    Kriging (a Gaussian process with Matérn-3/2 covariance) over the neutral surface; zero for a Face without landmarks
    that its head knows, and far from all that are visible.
    """
    found = _pairs(face)
    if found is None:
        return face.vertices.new_zeros(len(face.vertices), 2)
    points, detected = found
    projected = face.camera.project(points.mm[None])[0]
    height = float(torch.stack([projected.amin(0), projected.amax(0)]).diff(dim=0).amax())
    shift = detected - projected
    shift = shift * (_LARGEST * height / shift.norm(dim=1, keepdim=True).clamp_min(1e-6)).clamp_max(1)
    seen = face.view.visible(points.mm)
    places, shift = points.neutral[seen].double(), shift[seen].double()
    if not len(places):
        return face.vertices.new_zeros(len(face.vertices), 2)
    covariance = _covariance(places, places) + _NOISE * torch.eye(len(places), dtype=torch.float64)
    weights = torch.linalg.solve(covariance, shift)
    return (_covariance(face.neutral_vertices.double(), places) @ weights).to(face.vertices)


class _Points:
    def __init__(self, face: Face, convention: str, chosen: slice) -> None:
        embedding = face.head.embeddings[convention]
        self.mm = embedding.points(face.vertices)[chosen]
        self.neutral = embedding.points(face.neutral_vertices)[chosen]


def _pairs(face: Face) -> tuple[_Points, Tensor] | None:
    detected = face.detected
    if detected is None:
        return None
    points = np.ascontiguousarray(detected.points[:, :2])
    if detected.convention in face.head.embeddings and detected.convention != "ibug68":
        return _Points(face, detected.convention, slice(None)), torch.from_numpy(points)
    if "ibug68" not in face.head.embeddings:
        return None
    # iBUG's points of the outline slide over the skin: they say nothing of a surface point.
    inner = to_ibug68(points, detected.convention)[_N_CONTOUR:]
    return _Points(face, "ibug68", slice(_N_CONTOUR, None)), torch.from_numpy(np.ascontiguousarray(inner))


def _covariance(first: Float[Tensor, "N 3"], second: Float[Tensor, "M 3"]) -> Float[Tensor, "N M"]:
    distance = math.sqrt(3) / _REACH_MM * torch.cdist(first, second)
    return (1 + distance) * torch.exp(-distance)
