"""Rendered people whose landmarks a detector has found: known shapes, known cameras, detected points."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from likeness.cameras import Pinhole
from likeness.heads.open_head import OpenHead
from likeness.landmarks import MediaPipe
from open_head.painting import Painter, draw_look

SIZE = 400
IDENTITY_STD = 0.9
MAX_YAW, MAX_PITCH, MAX_ROLL = 38.0, 14.0, 12.0
EXPRESSIVE = 0.5  # share of the pictures with a strong expression; the others have a faint one

# Shapes that are drawn together, each at its strength.
MOODS: tuple[dict[str, float], ...] = (
    {"mouthSmile": 0.8, "cheekSquint": 0.4},
    {"mouthSmile": 0.9, "jawOpen": 0.35, "mouthUpperUp": 0.4},
    {"jawOpen": 0.7, "browInnerUp": 0.6, "browOuterUp": 0.6, "eyeWide": 0.6},
    {"jawOpen": 0.4},
    {"browDown": 0.8, "eyeSquint": 0.5, "noseSneer": 0.4},
    {"mouthFrown": 0.7, "browInnerUp": 0.7},
    {"mouthPucker": 0.8},
    {"mouthFunnel": 0.6, "jawOpen": 0.2},
    {"eyeBlink": 0.95},
    {"eyeBlink": 0.5, "mouthDimple": 0.4},
    {"eyeLookUp": 0.6},
    {"eyeLookDown": 0.6},
    {"mouthStretch": 0.6, "mouthLowerDown": 0.5, "jawOpen": 0.2},
    {"mouthRollLower": 0.5, "mouthRollUpper": 0.5},
    {"cheekPuff": 0.8},
    {"mouthUpperUp": 0.7, "noseSneer": 0.6, "jawOpen": 0.1},
    {"mouthLowerDown": 0.8},
    {"jawLeft": 0.7},
    {"jawRight": 0.7},
    {"mouthLeft": 0.6},
    {"mouthRight": 0.6},
)


@dataclass(frozen=True)
class Scenes:
    """N pictures in which a face was found."""

    identity: np.ndarray  # (N, I)
    expression: np.ndarray  # (N, E)
    rotation: np.ndarray  # (N, 3, 3) head frame to camera frame
    translation: np.ndarray  # (N, 3)
    focal: np.ndarray  # (N,) pixels; the principal point is the middle
    detected: np.ndarray  # (N, 478, 2) pixels

    def cameras(self) -> Pinhole:
        return _camera(self.rotation, self.translation, self.focal)


def shoot(head: OpenHead, painter: Painter, *, count: int, seed: int) -> Scenes:
    """Render `count` people and find their landmarks."""
    rng, detector = np.random.default_rng(seed), MediaPipe(device="cpu")
    rows = []
    for _ in tqdm(range(count)):
        identity = rng.normal(0, IDENTITY_STD, head.n_identity)
        expression = draw_expression(head.expression_names, rng)
        rotation, translation, focal = _draw_camera(rng)
        shape = head.vertices(_float(identity[None]), _float(expression[None]))[0].numpy()
        camera = _camera(rotation[None], translation[None], np.array([focal]))
        picture = painter.render(shape, camera, SIZE, draw_look(rng))
        found = detector.detect(picture, max_faces=1)
        if found:
            rows.append((identity, expression, rotation, translation, focal, found[0].points[:, :2]))
    return Scenes(*(np.stack(column) for column in zip(*rows, strict=True)))


def draw_expression(names: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    """Weights of a mood, at times on one side alone, or of a face nearly at rest."""
    weights = np.zeros(len(names))
    for name in ("mouthSmile", "browDown", "mouthPress", "browInnerUp", "eyeSquint"):
        _add(weights, names, name, rng.uniform(0, 0.08))
    if rng.uniform() < EXPRESSIVE:
        strength = rng.uniform(0.6, 1.05)
        for name, value in MOODS[rng.integers(len(MOODS))].items():
            _add(weights, names, name, value * strength)
    _gaze(weights, names, rng)
    return weights.clip(0.0, 1.0)


def _add(weights: np.ndarray, names: tuple[str, ...], name: str, value: float) -> None:
    for full in (name, name + "Left", name + "Right"):
        if full in names:
            weights[names.index(full)] += value


def _gaze(weights: np.ndarray, names: tuple[str, ...], rng: np.random.Generator) -> None:
    aside = rng.normal(0, 0.2)
    inward, outward = ("Left", "Right") if aside > 0 else ("Right", "Left")
    weights[names.index("eyeLookIn" + inward)] += abs(aside)
    weights[names.index("eyeLookOut" + outward)] += abs(aside)


def _draw_camera(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    angles = [
        rng.uniform(-MAX_ROLL, MAX_ROLL),
        rng.uniform(-MAX_PITCH, MAX_PITCH),
        MAX_YAW * np.sin(rng.uniform(-np.pi / 2, np.pi / 2)) * rng.choice([0.4, 1.0]),
    ]
    upright = np.diag([1.0, -1.0, -1.0])
    rotation = upright @ Rotation.from_euler("zxy", angles, degrees=True).as_matrix()
    distance = np.exp(rng.uniform(np.log(500), np.log(1500)))
    focal = rng.uniform(0.6, 0.85) * SIZE * distance / 250.0
    shift = rng.uniform(-10, 10, 2)
    return rotation, np.array([*shift, distance]), float(focal)


def _camera(rotation: np.ndarray, translation: np.ndarray, focal: np.ndarray) -> Pinhole:
    centre = torch.full((len(focal), 2), SIZE / 2)
    return Pinhole.from_focal(
        rotation=_float(rotation), translation=_float(translation), focal=_float(focal), centre=centre
    )


def _float(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
