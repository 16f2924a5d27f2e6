"""A Rig on disk: lossless in our own container, and as GLB for Blender, three.js and Unreal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from likeness.errors import FileFormatError, InputError
from likeness.files.tensors import read_tensors, write_tensors
from likeness.heads.protocol import Embedding
from likeness.motion import Motion
from likeness.rig import DetailMap, Rig
from likeness.topology import Topology

_KIND, _VERSION = "rig", 1
_ARRAYS = ("neutral", "blendshapes", "weights", "joint_positions", "skin_weights")
_TOPOLOGY = ("uv", "uv_triangles", "quads", "uv_quads", "mirror")


def write_rig(path: str | Path, rig: Rig, *, motion: Motion | None = None) -> None:
    """Write a Rig in the format its ending names: ``.safetensors`` or, with its animation if there is one, ``.glb``."""
    suffix = Path(path).suffix.lower()
    if motion is not None and suffix != ".glb":
        raise InputError(f"{path}: only a .glb holds a rig with its motion; save the motion by itself.")
    if suffix == ".safetensors":
        _write_lossless(path, rig)
    elif suffix == ".glb":
        from likeness.files.glb import write_glb
        from likeness.files.rig_glb import rig_to_glb

        write_glb(path, rig_to_glb(rig, motion=motion))
    else:
        raise InputError(f"{path}: a rig is saved as .safetensors or .glb, not as '{suffix or 'no ending'}'.")


def _write_lossless(path: str | Path, rig: Rig) -> None:
    tensors = {name: getattr(rig, name) for name in _ARRAYS}
    tensors["topology/triangles"] = rig.topology.triangles
    tensors |= {f"topology/{name}": value for name in _TOPOLOGY if (value := getattr(rig.topology, name)) is not None}
    tensors |= {f"region/{name}": mask.astype(np.uint8) for name, mask in rig.topology.regions.items()}
    tensors |= {f"detail/{detail.name}": detail.displacement for detail in rig.details}
    for name, embedding in rig.landmarks.items():
        tensors[f"landmark/{name}/corners"] = embedding.corners.numpy()
        tensors[f"landmark/{name}/barycentric"] = embedding.barycentric.numpy()
    if rig.albedo is not None:
        tensors["albedo"] = rig.albedo
    header = {
        "blendshape_names": list(rig.blendshape_names),
        "joint_names": list(rig.joint_names),
        "joint_parents": list(rig.joint_parents),
        "landmarks": sorted(rig.landmarks),
        "details": [
            {"name": d.name, "bias": d.bias, "weights": dict(d.weights), "local": d.local} for d in rig.details
        ],
    }
    write_tensors(path, _KIND, _VERSION, header, tensors)


def read_rig(path: str | Path) -> Rig:
    """Read a lossless Rig. Raises FileFormatError when the file is damaged or no Rig."""
    header, tensors = read_tensors(path, _KIND, _VERSION, required=(*_ARRAYS, "topology/triangles"))
    regions = {name[7:]: mask.astype(bool) for name, mask in tensors.items() if name.startswith("region/")}
    chart = {name: tensors.get(f"topology/{name}") for name in _TOPOLOGY}
    details = (
        DetailMap(d["name"], tensors[f"detail/{d['name']}"], d["bias"], d["weights"], d.get("local", False))
        for d in header["details"]
    )
    return Rig(
        topology=Topology(triangles=tensors["topology/triangles"], regions=regions, **chart),
        blendshape_names=tuple(header["blendshape_names"]),
        joint_names=tuple(header["joint_names"]),
        joint_parents=tuple(header["joint_parents"]),
        albedo=tensors.get("albedo"),
        details=tuple(details),
        landmarks={name: _embedding(path, tensors, name) for name in header.get("landmarks", ())},
        **{name: tensors[name] for name in _ARRAYS},
    )


def _embedding(path: str | Path, tensors: Mapping[str, np.ndarray], convention: str) -> Embedding:
    corners, weights = (tensors.get(f"landmark/{convention}/{part}") for part in ("corners", "barycentric"))
    n_vertices = len(tensors["neutral"])
    if corners is None or weights is None or corners.shape != weights.shape or corners.shape[1:] != (3,):
        raise FileFormatError(f"{path}: its landmarks '{convention}' are incomplete; make the rig anew.")
    if corners.dtype.kind != "i" or not 0 <= corners.min(initial=0) <= corners.max(initial=0) < n_vertices:
        raise FileFormatError(f"{path}: its landmarks '{convention}' name vertices it does not have; make it anew.")
    return Embedding(torch.from_numpy(corners), torch.from_numpy(weights))
