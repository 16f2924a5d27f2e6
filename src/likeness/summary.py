"""A Face in a few lines of text."""

from __future__ import annotations

import torch

from likeness.cameras import Pinhole
from likeness.face import Face

_STRONG = 0.15


def describe_face(face: Face) -> str:
    """What a Face file holds, for a person at a terminal."""
    vertices = face.vertices
    size = (vertices.amax(0) - vertices.amin(0)).tolist()
    maps = {name: getattr(face, name) for name in ("albedo", "displacement")}
    strong = {name: weight for name, weight in face.weights.items() if weight > _STRONG}
    expression = sorted(strong.items(), key=lambda item: -item[1])
    lines = [
        f"method      {face.method}, confidence {face.confidence:.2f}",
        f"head        {face.head.name} (version {face.head.version}): {len(vertices):,} vertices, "
        f"{face.head.n_identity} identity and {face.head.n_expression} expression coefficients",
        f"size        {size[0]:.0f} x {size[1]:.0f} x {size[2]:.0f} mm",
        f"photo       {face.image_size[1]} x {face.image_size[0]} pixels",
        f"camera      {_describe_camera(face)}",
        f"expression  {', '.join(f'{name} {weight:.2f}' for name, weight in expression) or 'neutral'}",
        f"maps        {', '.join(_describe_map(n, value) for n, value in maps.items() if value is not None) or 'none'}",
    ]
    lines += [f"residual    {name.replace('_', ' ')}: {value:.3g}" for name, value in face.residuals.items()]
    return "\n".join(lines)


def _describe_camera(face: Face) -> str:
    camera = face.camera
    if isinstance(camera, Pinhole):
        distance = float(torch.linalg.norm(camera.position[0])) / 1000
        return f"pinhole, focal length {float(camera.focal[0]):.0f} px, {distance:.2f} m away"
    return f"weak perspective, {float(camera.scale[0]):.3f} px/mm"


def _describe_map(name: str, value: torch.Tensor) -> str:
    return f"{name} {value.shape[-1]} x {value.shape[-2]}"
