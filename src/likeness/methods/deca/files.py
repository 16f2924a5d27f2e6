"""DECA's official data files and checkpoint as frozen arrays and modules. Reads safely, checks shapes."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn

from likeness.errors import FileFormatError
from likeness.files.numpy_files import load_npy, load_npz_columns
from likeness.heads.flame_files import N_VERTICES
from likeness.methods.deca.networks import N_CODE, N_DETAIL, DetailDecoder, Encoder

UV_SIZE = 256
N_TEXTURE = 50
_TEXTURE_SIDE = 512


@dataclass(frozen=True, eq=False)
class DenseTemplate:
    """``texture_data_256.npy``: the mesh with a vertex at every UV pixel of the chart.

    Each dense vertex has its pixel (column, row) and is a barycentric mix of three vertices of the head.
    """

    pixels: Int[np.ndarray, "N 2"]
    corners: Int[np.ndarray, "N 3"]
    barycentric: Float[np.ndarray, "N 3"]
    triangles: Int[np.ndarray, "M 3"]


@dataclass(frozen=True, eq=False)
class TextureSpace:
    """The mean and the first fifty components of a texture space, RGB, about [0, 1]."""

    mean: Float[Tensor, "3 S S"]
    components: Float[Tensor, "3 S S 50"]


@dataclass(frozen=True, eq=False)
class Networks:
    """The three networks of the checkpoint, in evaluation mode."""

    coarse: nn.Module
    detail: nn.Module
    decoder: nn.Module


def read_checkpoint(path: str | Path) -> Networks:
    """Read ``deca_model.tar`` (a torch file, despite its name). Every weight must be there; the rest is ignored.

    Raises FileFormatError when it is no torch file of plain tensors, or a network in it is incomplete.
    """
    content = load_torch_file(Path(path))
    networks = empty_networks()
    for name, network in (("E_flame", networks.coarse), ("E_detail", networks.detail), ("D_detail", networks.decoder)):
        _load(network, content.get(name) if isinstance(content, Mapping) else None, f"{path}: {name}")
    return networks


def read_decoder(path: str | Path) -> nn.Module:
    """The detail decoder of the checkpoint alone. Raises FileFormatError like `read_checkpoint`."""
    content = load_torch_file(Path(path))
    with torch.device("meta"):
        decoder = DetailDecoder().eval()
    _load(decoder, content.get("D_detail") if isinstance(content, Mapping) else None, f"{path}: D_detail")
    return decoder


def empty_networks() -> Networks:
    """The three networks without memory for their weights."""
    with torch.device("meta"):
        return Networks(Encoder(N_CODE).eval(), Encoder(N_DETAIL).eval(), DetailDecoder().eval())


def read_mask(path: str | Path) -> Float[np.ndarray, "256 256"]:
    """Read ``uv_face_eye_mask.png``: the first channel, in [0, 1]. Raises FileFormatError."""
    try:
        with Image.open(path) as image:
            if image.size != (UV_SIZE, UV_SIZE):
                raise FileFormatError(f"{path}: has {image.size[0]} x {image.size[1]} pixels; the mask has {UV_SIZE}².")
            return np.asarray(image.convert("RGB"))[..., 0].astype(np.float32) / 255
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise FileFormatError(f"{path}: not a readable picture ({error}).") from error


def read_fixed_displacement(path: str | Path) -> Float[np.ndarray, "256 256"]:
    """Read ``fixed_displacement_256.npy``: metres. Raises FileFormatError."""
    found = load_npy(path)
    if not isinstance(found, np.ndarray) or found.shape != (UV_SIZE, UV_SIZE) or found.dtype.kind != "f":
        raise FileFormatError(f"{path}: is no map of {UV_SIZE} x {UV_SIZE} displacements.")
    return found.astype(np.float32)


def read_dense_template(path: str | Path) -> DenseTemplate:
    """Read ``texture_data_256.npy``. Raises FileFormatError."""
    data = load_npy(path)
    keys = ("x_coords", "y_coords", "valid_pixel_ids", "valid_pixel_3d_faces", "valid_pixel_b_coords", "f")
    if not isinstance(data, Mapping) or any(not isinstance(data.get(key), np.ndarray) for key in keys):
        raise FileFormatError(f"{path}: is no dense template; it lacks one of {', '.join(keys)}.")
    x, y, ids, corners, barycentric, triangles = (data[key] for key in keys)
    n = len(ids)
    fits = x.shape == y.shape == (UV_SIZE**2,) and corners.shape == barycentric.shape == (n, 3)
    if not fits or triangles.shape != (len(triangles), 3):
        raise FileFormatError(f"{path}: its tables do not fit together.")
    for what, table, limit in (
        ("pixels", ids, UV_SIZE**2),
        ("vertices", corners, N_VERTICES),
        ("points", triangles, n),
    ):
        if table.min() < 0 or table.max() >= limit:
            raise FileFormatError(f"{path}: names {what} beyond {limit}.")
    pixels = np.stack([x[ids], y[ids]], 1).astype(np.int64)
    if pixels.min() < 0 or pixels.max() >= UV_SIZE:
        raise FileFormatError(f"{path}: has pixels outside the map.")
    return DenseTemplate(pixels, corners.astype(np.int64), barycentric.astype(np.float64), triangles.astype(np.int64))


def read_texture_space(path: str | Path, kind: Literal["bfm", "flame"], *, step: int = 2) -> TextureSpace:
    """Read ``FLAME_albedo_from_BFM.npz`` (bfm) or ``FLAME_texture.npz`` (flame). Raises FileFormatError.

    Both store B, G, R; the second on 0..255. Of 512² pixels every second is kept, as DECA does, or every ``step``-th.
    """
    mean_key, basis_key, scale = ("MU", "PC", 1.0) if kind == "bfm" else ("mean", "tex_dir", 255.0)
    arrays = load_npz_columns(path, {mean_key: None, basis_key: N_TEXTURE})
    n = _TEXTURE_SIDE**2 * 3
    if any(key not in arrays for key in (mean_key, basis_key)) or arrays[mean_key].size != n:
        raise FileFormatError(f"{path}: is no texture space of FLAME; it lacks {mean_key} or {basis_key} of its size.")
    if arrays[basis_key].size != n * N_TEXTURE:
        raise FileFormatError(f"{path}: {basis_key} must have at least {N_TEXTURE} components of {n} numbers.")

    def upright(array: np.ndarray, *tail: int) -> Tensor:
        image = array.reshape(_TEXTURE_SIDE, _TEXTURE_SIDE, 3, *tail)[::step, ::step, ::-1]
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, 2, 0), np.float32)) / scale

    return TextureSpace(upright(arrays[mean_key]), upright(arrays[basis_key], N_TEXTURE))


def load_torch_file(path: str | Path) -> Any:
    """A torch file's plain tensors, on the CPU; nothing else in it is ever run. Raises FileFormatError."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileFormatError(f"{path}: not a torch file of plain tensors ({reason}).") from error


def _load(network: nn.Module, state: Any, name: str) -> None:
    """Fill a network of the meta device with a checkpoint's tensors: all of its own, none of another shape."""
    expected = network.state_dict()
    if not isinstance(state, Mapping):
        raise FileFormatError(f"{name} is missing; DECA's checkpoint holds E_flame, E_detail and D_detail.")
    for key, tensor in expected.items():
        found = state.get(key)
        if not isinstance(found, Tensor) or found.shape != tensor.shape:
            shape = tuple(found.shape) if isinstance(found, Tensor) else "nothing"
            raise FileFormatError(f"{name}: {key} should be {tuple(tensor.shape)}, here is {shape}.")
    network.load_state_dict({key: state[key].to(expected[key].dtype) for key in expected}, strict=True, assign=True)
    network.requires_grad_(False)
