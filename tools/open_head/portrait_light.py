"""The light on a portrait: a random environment, the noise of its few samples taken out, exposure and tone."""

from __future__ import annotations

import ctypes
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from likeness.lighting import linear_to_srgb
from open_head.painting import smoothstep

# Above this share of white, tones are rounded off towards it, as film and phones do.
SHOULDER = 0.8


def environment(rng: np.random.Generator, *, height: int = 32) -> np.ndarray:
    """(height, 2 height, 3) linear light from all round, as Mitsuba lays it out, in the axes of the upright camera.

    Sky over ground, some soft patches of colour, and mostly one lamp or window, at times none or two.
    """
    directions = _directions(height)
    sky, ground = _tint(0.12, rng) * rng.uniform(0.3, 1), _tint(0.15, rng) * rng.uniform(0.05, 0.6)
    rise = smoothstep(-0.5, 0.6, directions[..., 1])[..., None]
    light = (ground * (1 - rise) + sky * rise) * rng.uniform(0.2, 1.2)
    for _ in range(rng.integers(3, 10)):
        light = light + _patch(directions, rng)
    for _ in range(rng.choice([0, 1, 1, 1, 2])):
        light = light + _lamp(directions, rng)
    return light


def _directions(height: int) -> np.ndarray:
    """(height, 2 height, 3) unit vectors of the map's pixels: y up, z towards the camera."""
    polar = (np.arange(height)[:, None] + 0.5) / height * np.pi
    azimuth = (np.arange(2 * height)[None] + 0.5) / height * np.pi
    flat = np.sin(polar)
    return np.stack([flat * np.sin(azimuth), np.cos(polar) + 0 * azimuth, -flat * np.cos(azimuth)], -1)


def _tint(spread: float, rng: np.random.Generator) -> np.ndarray:
    """A colour about white: a little of any, and warmer or colder."""
    return np.exp(rng.normal(0, 0.6 * spread, 3) + rng.normal(0, 0.12) * np.array([1, 0, -1]))


def _patch(directions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    glow = _lobe(directions, rng.normal(0, 1, 3), rng.uniform(10, 40))
    return (glow * rng.uniform(0.1, 1.5))[..., None] * _tint(0.25, rng)


def _lamp(directions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As much light from a small lamp as from a wide window."""
    towards = np.array([rng.normal(0, 0.7), rng.uniform(-0.1, 1.0), rng.uniform(0.05, 1.2)])
    lobe = _lobe(directions, towards, np.exp(rng.uniform(np.log(4), np.log(35))))
    return (lobe / lobe.mean() * rng.uniform(0.2, 2.5) * 0.7)[..., None] * _tint(0.1, rng)


def _lobe(directions: np.ndarray, towards: np.ndarray, degrees: float) -> np.ndarray:
    """1 in the direction ``towards``, falling off like a Gaussian of ``degrees`` on the sphere."""
    return np.exp((directions @ (towards / np.linalg.norm(towards)) - 1) / np.radians(degrees) ** 2)


def develop(linear: np.ndarray, face_px: np.ndarray, skin: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 sRGB, exposed for the face, whose vertices are at ``face_px`` (N, 2), dark ``skin`` less."""
    height, width = linear.shape[:2]
    column, row = np.clip(face_px.astype(int), 0, [width - 1, height - 1]).T
    bright = np.percentile(linear[row, column].mean(1), 70)
    target = np.exp(rng.normal(np.log(0.3), 0.3)) * max(0.5, float(skin.mean() / 0.3) ** 0.4)
    tone = np.maximum(linear * (target / max(bright, 1e-4)), 0)
    rest = 1 - SHOULDER
    tone = np.where(tone < SHOULDER, tone, SHOULDER + rest * (1 - np.exp(-(tone - SHOULDER) / rest)))
    srgb = linear_to_srgb(torch.from_numpy(tone)).numpy()
    return (srgb.clip(0, 1) * 255 + 0.5).astype(np.uint8)


class Denoiser:
    """Intel Open Image Denoise for square pictures of ``size`` pixels, on one thread: there is a process per core."""

    def __init__(self, size: int) -> None:
        oidn, library = _load_oidn()
        device = oidn.NewDevice(oidn.DEVICE_TYPE_CPU)
        library.oidnSetDevice1i(device, b"numThreads", 1)
        library.oidnSetDevice1b(device, b"setAffinity", False)
        oidn.CommitDevice(device)
        self._execute = oidn.ExecuteFilter
        self._filter = oidn.NewFilter(device, "RT")
        # The filter reads and writes these very arrays.
        self._images = {name: np.zeros((size, size, 3), np.float32) for name in ("color", "albedo", "normal", "output")}
        for name, image in self._images.items():
            oidn.SetSharedFilterImage(self._filter, name, image, oidn.FORMAT_FLOAT3, size, size)
        library.oidnSetFilter1b(self._filter, b"hdr", True)
        oidn.CommitFilter(self._filter)

    def __call__(self, colour: np.ndarray, albedo: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """(size, size, 3) linear light, from noisy light, first-hit albedo and normals of that shape."""
        self._images["color"][:] = colour
        self._images["albedo"][:] = albedo.clip(0, 1)
        self._images["normal"][:] = normal
        self._execute(self._filter)
        return self._images["output"].copy()


def _load_oidn():
    """The package, and its C library for the setters that the package does not wrap."""
    spec = find_spec("oidn")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("Portraits need Open Image Denoise: pip install 'likeness[portraits]'.")
    if sys.platform == "linux":
        # The wheel brings its own libtbb but does not say where it lies: loaded first, it is found.
        for tbb in Path(spec.submodule_search_locations[0]).glob("lib.linux.*/libtbb.so.*"):
            ctypes.CDLL(str(tbb), mode=ctypes.RTLD_GLOBAL)
    import oidn

    library = vars(oidn)["__lib_oidn"]
    library.oidnSetFilter1b.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_bool]
    library.oidnSetDevice1i.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32]
    library.oidnSetDevice1b.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_bool]
    return oidn, library
