"""Face: what was recovered from the pixels. Every method ends here, and everything after starts here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from likeness.cameras import Pinhole, WeakPerspective
from likeness.errors import InputError
from likeness.heads.protocol import Head
from likeness.landmarks.base import Landmarks
from likeness.landmarks.conventions import to_five
from likeness.render.closest_points import closest_points
from likeness.render.head_view import HeadView, view_head
from likeness.topology import Mesh

if TYPE_CHECKING:
    from likeness.rig import Rig


@dataclass(frozen=True, eq=False)
class SurfaceLandmarks:
    """Landmarks of a Face's mesh: ``image`` (N, 2) pixels of the photo, ``visible`` (N,) by the depth buffer,
    ``head`` (N, 3) mm on the mesh as in the photo, ``neutral`` (N, 3) mm on the neutral mesh."""

    convention: str
    image: Float[np.ndarray, "N 2"]
    visible: Bool[np.ndarray, " N"]
    head: Float[np.ndarray, "N 3"]
    neutral: Float[np.ndarray, "N 3"]


@dataclass(frozen=True, eq=False)
class Face:
    """A head model's parameters for one face of one photo, and what was measured beside them. Immutable.

    ``head``          the parametric head the numbers below belong to.
    ``identity``      (I,) and ``expression`` (E,): coefficients in that head's own spaces.
    ``joints``        (J, 3) rotation vectors relative to the parent joint, radians.
    ``camera``        a batch of one: head frame (mm) to pixels of the original photo; the head's rotation is in it.
    ``image_size``    (height, width) of the original photo.
    ``light``         (9, 3) spherical-harmonics irradiance (`likeness.lighting`) in the camera frame, so that it stays
                      put when the head turns.
    ``albedo``        (3, H, W) sRGB in [0, 1] in the head's UV chart, row 0 at v = 1.
    ``displacement``  (H, W) mm along the normal of the smooth surface, in the same chart.
    ``offsets``       (V, 3) mm added to the neutral shape.
    ``detected``      the landmarks the fit started from.
    ``confidence``    in [0, 1]: how far the method trusts this result.
    ``residuals``     named fit errors, each name ending in its unit (``landmarks_px``).
    ``codes``         further tensors a method's own decoder needs, by name.
    """

    head: Head
    identity: Float[Tensor, " I"]
    expression: Float[Tensor, " E"]
    joints: Float[Tensor, "J 3"]
    camera: Pinhole | WeakPerspective
    image_size: tuple[int, int]
    method: str
    confidence: float
    detected: Landmarks | None = None
    residuals: Mapping[str, float] = field(default_factory=dict)
    light: Float[Tensor, "9 3"] | None = None
    albedo: Float[Tensor, "3 H W"] | None = None
    displacement: Float[Tensor, "H W"] | None = None
    offsets: Float[Tensor, "V 3"] | None = None
    codes: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = {
            "identity": (self.head.n_identity,),
            "expression": (self.head.n_expression,),
            "joints": (len(self.head.joint_names), 3),
        }
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                found = tuple(getattr(self, name).shape)
                raise InputError(f"Face.{name} has shape {found}; the head '{self.head.name}' needs {shape}.")

    # ------------------------------------------------------------------ geometry

    @cached_property
    def vertices(self) -> Float[Tensor, "V 3"]:
        """The surface as in the photo: expression in, head rotation out; head frame, mm."""
        offsets = None if self.offsets is None else self.offsets[None]
        return self.head.vertices(self.identity[None], self.expression[None], self.joints[None], offsets)[0]

    @cached_property
    def neutral_vertices(self) -> Float[Tensor, "V 3"]:
        """The same person with a neutral face, every joint at rest; head frame, mm."""
        offsets = None if self.offsets is None else self.offsets[None]
        return self.head.vertices(self.identity[None], None, None, offsets)[0]

    def mesh(self) -> Mesh:
        """The mesh as in the photo."""
        return Mesh(self.vertices.detach().cpu().numpy(), self.head.topology)

    def albedo_image(self) -> UInt8[np.ndarray, "H W 3"] | None:
        """The albedo map as 8-bit sRGB, where there is one."""
        if self.albedo is None:
            return None
        return (self.albedo.detach().clamp(0, 1).permute(1, 2, 0).cpu().numpy() * 255 + 0.5).astype(np.uint8)

    def neutral(self) -> Face:
        """The same Face with a neutral expression and its joints at rest."""
        return replace(self, expression=torch.zeros_like(self.expression), joints=torch.zeros_like(self.joints))

    @cached_property
    def weights(self) -> dict[str, float]:
        """The expression coefficients by name."""
        return dict(zip(self.head.expression_names, self.expression.tolist(), strict=True))

    @cached_property
    def view(self) -> HeadView:
        """The mesh as the photo's camera sees it: a square crop about the head, rasterised."""
        return view_head(self.vertices, self.head.topology.triangles_tensor, self.camera)

    def landmarks(self, convention: str = "ibug68") -> SurfaceLandmarks:
        """The head's landmarks of a convention on this Face's surface, projected into the photo.

        Raises InputError on a convention the head has no embedding for.
        """
        points = self._surface_points(convention, self.vertices)
        return SurfaceLandmarks(
            convention,
            self.camera.project(points[None])[0].cpu().numpy(),
            self.view.visible(points).cpu().numpy(),
            points.cpu().numpy(),
            self._surface_points(convention, self.neutral_vertices).cpu().numpy(),
        )

    def _surface_points(self, convention: str, vertices: Float[Tensor, "V 3"]) -> Float[Tensor, "N 3"]:
        embeddings = self.head.embeddings
        if convention in embeddings:
            return embeddings[convention].points(vertices)
        if convention == "five" and "ibug68" in embeddings:
            five = to_five(embeddings["ibug68"].points(vertices).cpu().numpy(), "ibug68")
            return _onto_surface(torch.from_numpy(five), vertices, self.head.topology.triangles_tensor)
        known = ", ".join(sorted({*embeddings, *({"five"} if "ibug68" in embeddings else ())}))
        raise InputError(f"unknown landmark convention '{convention}'; the head '{self.head.name}' has {known}.")

    # ------------------------------------------------------------------ onward

    def render(self, **options) -> np.ndarray:
        """A picture (H, W, 3) uint8 of this Face; see `likeness.portraits.render_face` for the options."""
        from likeness.portraits import render_face

        return render_face(self, **options)

    def rig(self, *, blendshapes: Literal["arkit", "native"] = "arkit") -> Rig:
        """What an animator uses: neutral mesh, blendshapes, joints, texture. See `likeness.rig.rig_from_face`."""
        from likeness.rig import rig_from_face

        return rig_from_face(self, blendshapes=blendshapes)

    def to(self, device: torch.device | str) -> Face:
        """This Face with its tensors on another device."""

        def moved(value):
            return value.to(device) if isinstance(value, Tensor) else value

        tensors = {name: moved(getattr(self, name)) for name in _TENSORS}
        codes = {name: moved(value) for name, value in self.codes.items()}
        return replace(self, head=self.head.to(device), camera=self.camera.to(device), codes=codes, **tensors)

    def save(self, path: str | Path) -> None:
        """Write everything, without loss, to a ``.safetensors`` file. Raises OutputError when that fails."""
        from likeness.files.face import write_face

        write_face(path, self)

    @staticmethod
    def load(path: str | Path) -> Face:
        """Read what `save` wrote. Raises FileFormatError, or AssetError when its head model is not installed."""
        from likeness.files.face import read_face

        return read_face(path)


def _onto_surface(
    points: Float[Tensor, "N 3"], vertices: Float[Tensor, "V 3"], triangles: Int[Tensor, "T 3"]
) -> Float[Tensor, "N 3"]:
    """The nearest points of the mesh."""
    nearest = closest_points(points[None].to(vertices), vertices[None], triangles)
    corners = vertices[triangles.to(vertices.device)[nearest.triangle[0]]]
    return (corners * nearest.barycentric[0][..., None]).sum(-2)


_TENSORS = ("identity", "expression", "joints", "light", "albedo", "displacement", "offsets")
