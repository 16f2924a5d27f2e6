"""The recorded numbers of the reference implementation, and what they were recorded on.

Stand-in weights, a made-up face model and three made-up photos; see the README beside the files.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch

from likeness.heads.bfm_face3d import Face3dModel
from likeness.landmarks import Landmarks
from likeness.methods.inorig.checkpoint import network_from_state
from likeness.methods.inorig.decoding import Base, Codes, Generators, Level, prepare_level
from likeness.methods.inorig.descent import Estimate, decode, detached
from likeness.methods.inorig.method import InorigMethod
from likeness.methods.inorig.network import InorigNetwork
from likeness.methods.inorig.observation import Observation, observe
from likeness.methods.inorig.pose import pose_vertices
from likeness.methods.inorig.template import Template, build_template
from likeness.methods.protocol import Photo
from methods.inorig.synthetic_face import make_face
from standin import fill

# The same last digits on every run, and no fight for processors between test processes.
torch.set_num_threads(1)

FOLDER = Path(__file__).parents[2] / "goldens" / "inorig"


@cache
def golden(name: str) -> dict[str, np.ndarray]:
    """A file of recorded numbers."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def tensor(name: str, key: str) -> torch.Tensor:
    """A recorded array, whole, without the leading axis of one."""
    array = torch.from_numpy(golden(name)[key])
    return array[0] if array.ndim > 1 and len(array) == 1 else array


def error(found, name: str, key: str) -> float:
    """Largest difference from the recorded array (or the part of it that is kept), over its largest number."""
    file = golden(name)
    values = np.asarray(found.detach() if isinstance(found, torch.Tensor) else found, np.float64).reshape(-1)
    if key in file:
        expected = file[key].reshape(-1)
    else:
        (stored,) = (entry for entry in file if entry.startswith(f"{key}__flat"))
        expected, values = file[stored], values[:: int(stored.split("__flat")[1])]
    assert values.shape == expected.shape, f"{key}: {values.shape} numbers, recorded {expected.shape}"
    return float(np.abs(values - expected).max() / np.abs(expected).max())


def n_different(mask: torch.Tensor, name: str, key: str) -> int:
    """How many entries of a boolean array differ from the recorded one."""
    values = mask.numpy().reshape(-1)
    return int((np.unpackbits(golden(name)[key], count=values.size).astype(bool) != values).sum())


def mask(name: str, key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A recorded boolean array."""
    bits = np.unpackbits(golden(name)[key], count=int(np.prod(shape)))
    return torch.from_numpy(bits.astype(bool).reshape(shape))


@cache
def model() -> Face3dModel:
    return make_face_model()


def make_face_model(**size) -> Face3dModel:
    """The made-up face as the reader of the official files would give it."""
    face = make_face(**size)
    segments = np.zeros((4, len(face.mean)), np.uint8)
    segments[3] = 1
    return Face3dModel(**(vars(face) | {"regions": segments}))


@cache
def template() -> Template:
    return build_template(model())


@cache
def state() -> dict[str, torch.Tensor]:
    """The stand-in checkpoint. Its last layers are scaled down: full-sized noise there would throw the face apart."""
    state = fill(InorigNetwork(), "inorig").state_dict()
    edits = json.loads((FOLDER / "post_edits.json").read_text())
    for key, factor in edits["scale"].items():
        state[key] = state[key] * factor
    for key, values in edits["set"].items():
        state[key] = torch.tensor(values)
    return state


@cache
def network() -> InorigNetwork:
    return network_from_state(dict(state()))


@cache
def method() -> InorigMethod:
    return InorigMethod.from_parts(network(), model(), device="cpu")


@cache
def crops() -> torch.Tensor:
    pixels = torch.from_numpy(golden("images")["images"])
    return pixels.permute(0, 3, 1, 2).float().div(255).contiguous()


@cache
def landmarks() -> torch.Tensor:
    return torch.from_numpy(golden("images")["kpts"])


def photos() -> list[Photo]:
    return [Photo(pixels, f"photo{i}.jpg") for i, pixels in enumerate(golden("images")["images"])]


def detected() -> list[Landmarks]:
    """The recorded landmarks count pixel centres as whole numbers, photos count their corners."""
    points = (golden("images")["kpts"] + 0.5).astype(np.float32)
    return [Landmarks("ibug68", each, 0.9) for each in points]


@cache
def observation() -> Observation:
    return observe(network(), crops(), landmarks())


@cache
def walk() -> list[tuple[Level, Estimate]]:
    """The recorded walk over the three levels with given codes; each level starts from the one before."""
    vertices, seen = start()
    base = Base(torch.zeros_like(template().mean), template().albedo, Generators())
    light = tensor("decoders", "sh").reshape(3, 9, 3)
    steps = []
    for index in range(3):
        level = prepare_level(network().opt_layer, template(), observation(), index, base, vertices, seen)
        estimate = decode(level, observation(), walk_codes(index), light)
        steps.append((level, estimate))
        end = detached(estimate)
        vertices, seen = end.vertices, end.visible
        base = Base(end.displacement, end.albedo[0], end.generators)
    return steps


def walk_codes(index: int) -> Codes:
    person = (torch.from_numpy(golden("decoders")[f"{name}_norm{index}"])[..., 0] for name in ("sp", "mp", "ap"))
    return Codes(*person, pose=tensor("decoders", "pose0"), expression=tensor("decoders", "ep_norm")[..., 0])


def start() -> tuple[torch.Tensor, torch.Tensor]:
    """The mean face under the recorded pose, and what is visible of it in the face region."""
    vertices = pose_vertices(tensor("ops", "pose0"), template().mean[None])
    return vertices, mask("ops", "vis_face", (3, len(template().mean)))
