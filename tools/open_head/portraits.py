"""Portraits of the open head, path-traced: hair, soft shadows, coloured light, gloss and skin as photographs have them.

Mitsuba 3 traces four paths a pixel and Open Image Denoise makes a picture of them; both come as wheels (the portraits
extra). A portrait takes about a second.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import drjit
import mitsuba as mi
import numpy as np
import torch

from likeness.cameras import Pinhole
from likeness.heads.open_head import OpenHead
from likeness.meshes import vertex_normals
from open_head.masks import painted_masks
from open_head.painting import Painter
from open_head.portrait_hair import Groomer, Strands
from open_head.portrait_light import Denoiser, develop, environment
from open_head.portrait_paint import AtlasPainter, PortraitLook
from open_head.source import load_source
from open_head.topology import build_topology

# Not the LLVM variant, which is faster at large pictures: it compiles each new scene for over a second.
mi.set_variant("scalar_rgb")
mi.set_log_level(mi.LogLevel.Error)

PATHS_PER_PIXEL = 4
MAX_DEPTH = 4
WET = ("teeth", "tongue", "inner_mouth")
TIP_WIDTH = 0.35  # of a strand, where 1 is its root


class Studio:
    """Takes portraits of one head model; built once."""

    def __init__(self, head: OpenHead) -> None:
        # One thread: a process per core makes better use of them than many threads on small pictures.
        drjit.set_thread_count(1)
        self.head = head
        painter = Painter(head, painted_masks(build_topology(load_source())))
        self.triangles = painter.triangles
        self.atlas, self.groomer = AtlasPainter(painter), Groomer(painter)
        self._parts = _split_parts(painter)
        self._denoisers: dict[int, Denoiser] = {}

    def render(
        self, shape: np.ndarray, camera: Pinhole, size: int, look: PortraitLook, rng: np.random.Generator
    ) -> np.ndarray:
        """(size, size, 3) uint8 sRGB of vertices (V, 3) in mm, head frame, under a camera of ``size`` pixels.

        ``rng`` draws what a look does not say: where hairs stand, the light, the shoulders, the exposure.
        """
        points = torch.from_numpy(shape.astype(np.float32))
        normals = vertex_normals(points, self.triangles).numpy()
        scene = {"type": "scene", "integrator": _integrator(), "sensor": _sensor(camera, size)}
        scene |= self._head_meshes(shape, normals, self.atlas.paint(look, rng), look)
        strands = self._strands(shape, normals, look, rng)
        scene["shoulders"] = _shoulders(shape[self.head.topology.region("neck")], rng)
        scene["light"] = _light(camera, rng)
        with TemporaryDirectory() as folder:
            if strands:
                scene["hair"] = _curves(strands, look.hair, Path(folder) / "strands.txt")
            loaded = mi.load_dict(scene, parallel=False)
        seed = int(rng.integers(1 << 30))
        # The package's type stubs know the compiled variants' numbers alone.
        layers = np.array(mi.render(loaded, spp=PATHS_PER_PIXEL, seed=seed))  # pyright: ignore[reportArgumentType]
        linear = self._denoiser(size)(layers[..., :3], layers[..., 3:6], layers[..., 6:9])
        face = camera.project(points[None])[0].numpy()[self.head.topology.region("face")]
        return develop(linear, face, look.skin, rng)

    def _head_meshes(
        self, shape: np.ndarray, normals: np.ndarray, albedo: np.ndarray, look: PortraitLook
    ) -> dict[str, mi.Mesh]:
        # Mitsuba has v = 0 in a bitmap's first row, the atlas in its last.
        bitmap = mi.Bitmap(np.ascontiguousarray(albedo[::-1]))
        paint = {"type": "bitmap", "bitmap": bitmap, "raw": True, "filter_type": "bilinear"}
        gloss = {
            "skin": {"roughness": look.roughness, "specular": look.specular},
            "eye": {"roughness": 0.25, "specular": 0.5, "clearcoat": 1.0, "clearcoat_gloss": 0.98},
            "wet": {"roughness": 0.25, "specular": 0.5},
        }
        meshes = {}
        for name, (vertices, uv, triangles) in self._parts.items():
            surface = {"type": "twosided", "bsdf": {"type": "principled", "base_color": paint, **gloss[name]}}
            meshes[name] = _mesh(name, shape[vertices], normals[vertices], triangles, surface, uv)
        return meshes

    def _strands(
        self, shape: np.ndarray, normals: np.ndarray, look: PortraitLook, rng: np.random.Generator
    ) -> list[Strands]:
        hairs = self.groomer.hairs(shape, normals, look.hair_style, rng)
        brows = self.groomer.brow_hairs(shape, normals, look.brow, rng)
        lashes = self.groomer.lashes(shape, rng) if look.has_lashes else []
        return [strands for strands in (hairs, brows, *lashes) if strands is not None]

    def _denoiser(self, size: int) -> Denoiser:
        if size not in self._denoisers:
            self._denoisers[size] = Denoiser(size)
        return self._denoisers[size]


def _split_parts(painter: Painter) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each kind of surface its vertices (M) of the head, their uv (M, 2) and its triangles (T, 3) among them.

    A vertex on a seam of the atlas comes once for each of its uv.
    """
    topology = painter.head.topology
    assert topology.uv is not None and topology.uv_triangles is not None
    eye, wet = np.char.startswith(painter.part, "eyeball"), np.isin(painter.part, WET)
    parts = {}
    for name, inside in (("skin", ~eye & ~wet), ("eye", eye), ("wet", wet)):
        corners = np.stack([topology.triangles[inside].ravel(), topology.uv_triangles[inside].ravel()], 1)
        unique, index = np.unique(corners, axis=0, return_inverse=True)
        parts[name] = (unique[:, 0], topology.uv[unique[:, 1]], index.reshape(-1, 3))
    return parts


def _integrator() -> dict:
    """Light, and what the denoiser wants beside it: albedo and shading normal."""
    path = {"type": "path", "max_depth": MAX_DEPTH}
    return {"type": "aov", "aovs": "albedo:albedo,normal:sh_normal", "light": path}


def _sensor(camera: Pinhole, size: int) -> dict:
    to_world = np.eye(4)
    # Mitsuba's cameras look along +z too, but with x to the left and y up.
    to_world[:3, :3] = _camera_to_head(camera) @ np.diag([-1.0, -1.0, 1.0])
    to_world[:3, 3] = camera.position[0].numpy()
    return {
        "type": "perspective",
        "fov_axis": "x",
        "fov": float(np.degrees(2 * np.arctan(size / 2 / float(camera.focal[0])))),
        "near_clip": 10.0,
        "far_clip": 1e5,
        "to_world": _transform(to_world),
        "film": {
            **{"type": "hdrfilm", "width": size, "height": size},
            **{"rfilter": {"type": "box"}, "pixel_format": "rgb"},
        },
        "sampler": {"type": "independent", "sample_count": PATHS_PER_PIXEL},
    }


def _camera_to_head(camera: Pinhole) -> np.ndarray:
    return camera.rotation[0].double().numpy().T


def _light(camera: Pinhole, rng: np.random.Generator) -> dict:
    """A random environment; it stands with the camera and does not turn with the head."""
    to_world = np.eye(4)
    to_world[:3, :3] = _camera_to_head(camera) @ np.diag([1.0, -1.0, -1.0])
    bitmap = mi.Bitmap(environment(rng).astype(np.float32))
    return {"type": "envmap", "bitmap": bitmap, "to_world": _transform(to_world)}


def _curves(strands: list[Strands], colour: np.ndarray, path: Path) -> dict:
    """B-splines by way of a text file, the one form in which Mitsuba reads them: a control point a line."""
    with path.open("w") as file:
        for some in strands:
            control = _control_points(some)
            curve = "%.2f %.2f %.2f %.3f\n" * control.shape[1] + "\n"
            file.write(curve * len(control) % tuple(control.ravel()))
    fibre = {"type": "principled", "base_color": _rgb(colour, 0.003), "roughness": 0.45, "specular": 0.4}
    return {"type": "bsplinecurve", "filename": str(path), "bsdf": fibre}


def _control_points(strands: Strands) -> np.ndarray:
    """(N, K + 1, 4) points and radii, thinner to the tip; one before the root, so that the spline starts there."""
    points = strands.points
    taper = np.linspace(1, TIP_WIDTH, points.shape[1])
    control = np.concatenate([points, (strands.radius_mm[:, None] * taper)[..., None]], 2)
    before = np.concatenate([2 * points[:, 0] - points[:, 1], strands.radius_mm[:, None]], 1)
    return np.concatenate([before[:, None], control], 1)


def _shoulders(neck: np.ndarray, rng: np.random.Generator) -> mi.Mesh:
    """A wide ellipsoid in a random colour below the neck, whose vertices are (N, 3)."""
    low = neck[:, 1].min()
    x, _, z = neck[neck[:, 1] < low + 15].mean(0)
    radii = np.array([rng.uniform(150, 220), 75, 95])
    ball, triangles = _sphere(24, 48)
    centre = [x, low - rng.uniform(55, 85), z - 15]
    cloth = {"type": "diffuse", "reflectance": _rgb(rng.uniform(0.02, 0.8) + rng.normal(0, 0.12, 3), 0.01)}
    return _mesh("shoulders", ball * radii + centre, ball / radii, triangles, cloth)


def _sphere(n_rings: int, n_segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (N, 3) on a grid of latitude and longitude, and triangles seen from outside."""
    polar = np.linspace(0, np.pi, n_rings + 1)[:, None]
    azimuth = np.linspace(0, 2 * np.pi, n_segments + 1)[None]
    grid = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar) + 0 * azimuth, np.sin(polar) * np.cos(azimuth)], -1)
    index = np.arange(grid[..., 0].size).reshape(grid.shape[:2])
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    # The poles' triangles without area do no harm to a path tracer.
    return grid.reshape(-1, 3), np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)


def _mesh(
    name: str,
    vertices: np.ndarray,
    normals: np.ndarray,
    triangles: np.ndarray,
    surface: dict,
    uv: np.ndarray | None = None,
) -> mi.Mesh:
    properties = mi.Properties()
    properties["mesh_bsdf"] = mi.load_dict(surface)
    mesh = mi.Mesh(
        name,
        len(vertices),
        len(triangles),
        has_vertex_normals=True,
        has_vertex_texcoords=uv is not None,
        props=properties,
    )
    buffers = mi.traverse(mesh)
    buffers["vertex_positions"] = vertices.astype(np.float32).ravel()
    buffers["vertex_normals"] = normals.astype(np.float32).ravel()
    if uv is not None:
        buffers["vertex_texcoords"] = uv.astype(np.float32).ravel()
    buffers["faces"] = triangles.astype(np.uint32).ravel()
    buffers.update()
    return mesh


def _transform(matrix: np.ndarray) -> mi.ScalarTransform4f:
    return mi.ScalarTransform4f(matrix)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _rgb(colour: np.ndarray, least: float) -> dict:
    return {"type": "rgb", "value": list(np.clip(colour, least, 0.9))}
