"""Likeness: from photographs and videos of a face to a riggable 3D likeness, and its animation.

>>> import likeness
>>> face = likeness.reconstruct("photo.jpg")[0]  # every face of the photo, largest first
>>> face.mesh().vertices  # (V, 3) millimetres: +x subject's left, +y up, +z out of the face
>>> face.landmarks("ibug68").image  # (68, 2) pixels of the photo
>>> face.weights["jawOpen"]  # ARKit's 52 blendshape weights
>>> face.rig().save("head.glb")  # opens in Blender, three.js, Unreal
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from likeness.api import reconstruct as reconstruct
    from likeness.face import Face as Face
    from likeness.motion import Motion as Motion
    from likeness.rig import Rig as Rig

__version__ = "0.1.0"

# Imported when first used: `import likeness` stays instant, torch is loaded when something needs it.
_PUBLIC = {
    "reconstruct": "likeness.api",
    "Face": "likeness.face",
    "Rig": "likeness.rig",
    "Motion": "likeness.motion",
}
__all__ = ["Face", "Motion", "Rig", "__version__", "reconstruct"]


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'likeness' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
