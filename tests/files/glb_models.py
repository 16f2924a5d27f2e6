"""Small rigs that use everything a GLB of ours can hold."""

import numpy as np

from likeness.files.glb import GlbAnimation, GlbImage, GlbJoint, GlbMaterial, GlbModel, GlbPart, GlbPayload


def full_model(n_rings=12, n_morphs=52):
    """A ball of two halves and a patch: seams, textures, normal map, joints, morph targets of all kinds, animation."""
    rng = np.random.default_rng(7)
    vertices, triangles, uv, uv_triangles = _ball(n_rings)
    normals = (vertices / np.linalg.norm(vertices, axis=1, keepdims=True)).astype(np.float32)
    upper = vertices[triangles].mean(axis=1)[:, 1] > 0
    skin = GlbMaterial("skin", base_colour_image=picture("png"), normal_image=normal_map())
    eye = GlbMaterial(
        "eye", (1.0, 0.25, 0.25, 0.5), picture("jpeg"), roughness=0.125, alpha_mode="BLEND", double_sided=True
    )
    joints = (
        GlbJoint("neck", (0.0, -50.0, 0.0)),
        GlbJoint("jaw", (0.0, -20.0, 20.0), 0),
        GlbJoint("eyeLeft", (30.0, 20.0, 60.0), 0),
        GlbJoint("prop", (1.0, 2.0, 3.0)),
    )
    skin_weights = rng.random((len(vertices), 4)).astype(np.float32)
    skin_weights[::3, 1:] = 0
    deltas = _deltas(vertices, normals, n_morphs)
    return GlbModel(
        name="head",
        vertices=vertices,
        normals=normals,
        parts=(
            GlbPart("skin", triangles[upper], skin, uv_triangles[upper]),
            GlbPart("eyes", triangles[~upper], eye, uv_triangles[~upper]),
            GlbPart("patch", triangles[:4], GlbMaterial("plain")),
        ),
        uv=uv,
        joints=joints,
        skin_weights=skin_weights / skin_weights.sum(axis=1, keepdims=True),
        morph_names=tuple(f"shape{k}" for k in range(n_morphs)),
        morph_deltas=deltas,
        morph_normal_deltas=(deltas * 0.01).astype(np.float32),
        morph_weights=np.linspace(0, 1, n_morphs, dtype=np.float32),
        animations=(_animation(n_morphs, rng),),
        extras={"version": 1, "note": ["ä", None, 0.5]},
        payloads={"displacement": GlbPayload(b"\x00\x01\x02", "image/x-exr")},
    )


def picture(encoding):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(32) * 8, np.arange(16)[:, None] * 16
    return GlbImage.from_pixels(pixels, encoding=encoding)


def normal_map():
    return GlbImage.from_pixels(np.full((4, 4, 3), (128, 128, 255), np.uint8))


def _ball(n_rings):
    """A latitude-longitude ball of radius 100 mm with a uv seam down its back."""
    n_around = 2 * n_rings
    latitude = np.pi * (np.arange(1, n_rings) / n_rings - 0.5)
    longitude = 2 * np.pi * np.arange(n_around) / n_around - np.pi
    y, around = np.meshgrid(latitude, longitude, indexing="ij")
    vertices = 100 * np.stack([np.cos(y) * np.sin(around), np.sin(y), np.cos(y) * np.cos(around)], axis=-1)
    rows = np.arange(n_rings - 2)[:, None] * n_around
    column = np.arange(n_around)
    a, b = rows + column, rows + (column + 1) % n_around
    triangles = _grid(a, b, n_around)
    rows = np.arange(n_rings - 2)[:, None] * (n_around + 1)
    uv_triangles = _grid(rows + column, rows + column + 1, n_around + 1)
    u, v = np.meshgrid(np.linspace(0, 1, n_around + 1), np.linspace(0, 1, n_rings - 1))
    uv = np.stack([u, v], axis=-1).reshape(-1, 2)
    return vertices.reshape(-1, 3).astype(np.float32), triangles, uv.astype(np.float32), uv_triangles


def _grid(a, b, width):
    quads = np.stack([a, b, b + width, a + width], axis=-1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def _deltas(vertices, normals, n_morphs):
    """Local bumps; the last but one target moves nothing and the last one everything."""
    deltas = np.zeros((n_morphs, len(vertices), 3), np.float32)
    for k in range(n_morphs):
        centre = normals[(37 * k) % len(normals)]
        deltas[k] = 20 * np.clip((normals @ centre - 0.7) / 0.3, 0, None)[:, None] * centre
    deltas[-2:] = np.array([0.0, 1.0])[-min(n_morphs, 2) :, None, None]
    return deltas


def _animation(n_morphs, rng):
    angles = np.linspace(0, 0.5, 5)
    rotations = np.stack([0 * angles, np.sin(angles / 2), 0 * angles, np.cos(angles / 2)], axis=1)
    return GlbAnimation(
        "take",
        np.arange(5, dtype=np.float32) / 25,
        rng.random((5, n_morphs)).astype(np.float32),
        {"neck": rotations.astype(np.float32), "jaw": rotations.astype(np.float32)},
    )
