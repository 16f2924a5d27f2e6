"""GLB (binary glTF 2.0): a rigged head in one file, in and out.

Written with `json` and `struct` against the specification, not with a glTF package: the container is two chunks, and
neither sparse morph targets nor a reader that distrusts every length in the file would come from one.
"""

from likeness.files.glb.model import (
    GlbAnimation,
    GlbImage,
    GlbJoint,
    GlbMaterial,
    GlbModel,
    GlbPart,
    GlbPayload,
)
from likeness.files.glb.read import read_glb
from likeness.files.glb.write import glb_bytes, write_glb

__all__ = [
    "GlbAnimation",
    "GlbImage",
    "GlbJoint",
    "GlbMaterial",
    "GlbModel",
    "GlbPart",
    "GlbPayload",
    "glb_bytes",
    "read_glb",
    "write_glb",
]
