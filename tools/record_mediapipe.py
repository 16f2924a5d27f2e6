"""Record what MediaPipe itself sees, for the tests of `likeness.landmarks`.

Run it in an environment of its own, since `mediapipe` forces numpy below 2:

    python3.12 -m venv recording
    recording/bin/pip install mediapipe==0.10.21 scikit-image safetensors
    recording/bin/python tools/record_mediapipe.py

Reads scikit-image's astronaut and the rendered heads in `tests/landmarks/data`, and writes `mediapipe.npz` beside them:
`<picture>/points (F, 478, 3)`, pixels and depth in pixels, and `<picture>/short` and `/full`, one row a detection
(score, x0, y0, x1, y1, six keypoints). With `--render` the heads are rendered anew first, from the open head.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import safetensors.numpy
from PIL import Image
from safetensors import safe_open

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "landmarks" / "data"
HEAD = ROOT / "src" / "likeness" / "heads" / "open_head.safetensors"
N_PIXELS = 320
OVERSAMPLING = 2
# Name -> seed of the identity, yaw and pitch and roll in degrees, distance in millimetres, expression.
HEADS: dict[str, tuple[int, float, float, float, float, dict[str, float]]] = {
    "frontal": (1, 0, 0, 0, 900, {}),
    "smiling": (2, 20, 5, -8, 700, {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9, "cheekSquintLeft": 0.6}),
    "speaking": (3, -30, -8, 12, 650, {"jawOpen": 0.6, "mouthFunnel": 0.3}),
    "blinking": (4, 8, 10, 30, 1100, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}),
    "turned": (5, 50, 0, 0, 800, {"browInnerUp": 0.7}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--render", action="store_true", help="render the heads anew first")
    if parser.parse_args().render:
        for name in HEADS:
            Image.fromarray(render_head(name)).save(DATA / f"{name}.jpg", quality=90)
    import skimage.data

    pictures = {"astronaut": skimage.data.astronaut()}
    for name in HEADS:
        pictures[name] = np.asarray(Image.open(DATA / f"{name}.jpg").convert("RGB"))
    record = {f"{name}/{key}": value for name, image in pictures.items() for key, value in see(image).items()}
    np.savez_compressed(DATA / "mediapipe.npz", **record)
    print({key: value.shape for key, value in record.items()})


def see(image: np.ndarray) -> dict[str, np.ndarray]:
    """MediaPipe's own mesh (static, refined) and detections, in pixels of the picture."""
    from mediapipe.python.solutions import face_detection, face_mesh

    height, width = image.shape[:2]
    with face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True, max_num_faces=4) as mesh:
        faces = mesh.process(image).multi_face_landmarks or []
    points = [[(p.x * width, p.y * height, p.z * width) for p in face.landmark] for face in faces]
    seen = {"points": np.array(points, np.float32).reshape(-1, 478, 3)}
    for model, name, min_score in ((0, "short", 0.5), (1, "full", 0.6)):
        with face_detection.FaceDetection(min_score, model) as detector:
            found = detector.process(image).detections or []
        seen[name] = np.array([to_row(detection, width, height) for detection in found], np.float32).reshape(-1, 17)
    return seen


def to_row(detection: object, width: int, height: int) -> list[float]:
    box = detection.location_data.relative_bounding_box
    corners = [box.xmin * width, box.ymin * height, (box.xmin + box.width) * width, (box.ymin + box.height) * height]
    keypoints = [v for k in detection.location_data.relative_keypoints for v in (k.x * width, k.y * height)]
    return [detection.score[0], *corners, *keypoints]


# --- rendering ------------------------------------------------------------------------------------------------------


def render_head(name: str) -> np.ndarray:
    """The open head, painted and softly lit, through a plain z-buffer: `(320, 320, 3)` uint8."""
    seed, yaw, pitch, roll, distance, weights = HEADS[name]
    head = safetensors.numpy.load_file(HEAD)
    with safe_open(HEAD, "np") as file:
        names = json.loads(file.metadata()["expression_names"])
    random = np.random.default_rng(seed)
    vertices = head["mean"].astype(np.float64)
    vertices += np.tensordot(random.normal(size=len(head["identity"])), head["identity"].astype(np.float64), 1)
    for shape, weight in weights.items():
        vertices += weight * head["expression"][names.index(shape)]

    rotation = turn(2, roll) @ turn(0, pitch) @ turn(1, yaw)
    turned = vertices @ rotation.T
    n_pixels = N_PIXELS * OVERSAMPLING
    depth = distance - turned[:, 2]
    scale = 0.0042 * n_pixels * distance / depth  # a head of 240 mm then fills the picture
    pixels = np.stack([n_pixels / 2 + turned[:, 0] * scale, n_pixels / 2 - turned[:, 1] * scale], axis=1)
    triangles = head["triangles"]
    colours = shaded(paint(head, random), turned, triangles)
    image = rasterise(pixels, depth, triangles, colours, background(n_pixels, random))
    image = image.reshape(N_PIXELS, OVERSAMPLING, N_PIXELS, OVERSAMPLING, 3).mean(axis=(1, 3))
    image += random.normal(scale=0.008, size=image.shape)
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def turn(axis: int, degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    rotation = np.eye(3)
    rotation[i, i] = rotation[j, j] = cos
    rotation[i, j], rotation[j, i] = -sin, sin
    return rotation


def paint(head: dict[str, np.ndarray], random: np.random.Generator) -> np.ndarray:
    """Colours of the vertices: skin of a random tone, lips, brows, eyes, teeth, hair on the scalp."""
    skin = np.array([0.78, 0.58, 0.47]) * random.uniform(0.6, 1.1)
    colours = np.tile(skin, (len(head["mean"]), 1))
    paints = {
        "scalp": (0.16, 0.11, 0.08),
        "brows": (0.2, 0.14, 0.1),
        "lips": skin * (0.85, 0.55, 0.55),
        "inner_mouth": (0.25, 0.08, 0.08),
        "tongue": (0.6, 0.3, 0.3),
        "teeth": (0.85, 0.83, 0.78),
        "eye_cavity": (0.3, 0.2, 0.18),
        "sclera_left": (0.9, 0.89, 0.87),
        "sclera_right": (0.9, 0.89, 0.87),
        "iris_left": (0.25, 0.2, 0.15),
        "iris_right": (0.25, 0.2, 0.15),
        "pupil_left": (0.02, 0.02, 0.02),
        "pupil_right": (0.02, 0.02, 0.02),
        "nostrils": skin * 0.3,
    }
    for region, colour in paints.items():
        share = head[f"region/{region}"].astype(np.float64)[:, None]
        share = share / max(1.0, share.max())
        colours = colours * (1 - share) + np.array(colour) * share
    return colours


def shaded(colours: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    face_normals = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, triangles[:, k], face_normals)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
    light = np.array([0.4, 0.5, 0.77])
    return colours * (0.45 + 0.65 * np.maximum(normals @ light, 0))[:, None]


def background(n_pixels: int, random: np.random.Generator) -> np.ndarray:
    corners = random.uniform(0.2, 0.8, size=(2, 2, 3))
    t = np.linspace(0, 1, n_pixels)
    rows = corners[0] * (1 - t)[:, None, None] + corners[1] * t[:, None, None]
    return rows[:, :1] * (1 - t)[None, :, None] + rows[:, 1:] * t[None, :, None]


def rasterise(
    pixels: np.ndarray, depth: np.ndarray, triangles: np.ndarray, colours: np.ndarray, image: np.ndarray
) -> np.ndarray:
    """Nearest triangle wins, colours interpolated linearly in the picture; pixel centres at +0.5."""
    nearest = np.full(image.shape[:2], np.inf)
    for triangle in triangles:
        corners = pixels[triangle]
        low = np.maximum(np.floor(corners.min(axis=0) - 0.5), 0).astype(int)
        high = np.minimum(np.ceil(corners.max(axis=0) + 0.5), image.shape[0]).astype(int)
        edges = np.column_stack([corners[1] - corners[0], corners[2] - corners[0]])
        area = np.linalg.det(edges)
        if (high <= low).any() or abs(area) < 1e-9:
            continue
        y, x = np.mgrid[low[1] : high[1], low[0] : high[0]] + 0.5
        u, v = np.tensordot(np.linalg.inv(edges), np.stack([x - corners[0, 0], y - corners[0, 1]]), 1)
        weights = np.stack([1 - u - v, u, v])
        z = np.tensordot(depth[triangle], weights, 1)
        part = np.s_[low[1] : high[1], low[0] : high[0]]
        wins = (weights >= 0).all(axis=0) & (z < nearest[part])
        nearest[part][wins] = z[wins]
        image[part][wins] = np.tensordot(weights, colours[triangle], ((0,), (0,)))[wins]
    return image


if __name__ == "__main__":
    main()
