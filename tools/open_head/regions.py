"""Named vertex sets of the baked head, from MakeHuman's parts and paint, its own shape targets, and a drawn brow."""

from collections.abc import Callable

import numpy as np

from open_head.nostrils import in_dent, nose_tip_of
from open_head.source import Array, Source
from open_head.topology import IRIS_DEGREES, N_SEGMENTS, PUPIL_DEGREES, RINGS, Topology

Mask = np.ndarray

# The brow's middle line and half width above the pupil of the mean head, mm: (outwards from the midline, up, half).
BROW = np.array([[10.5, 13.0, 4.0], [20.0, 16.5, 4.2], [31.0, 18.3, 3.8], [42.0, 17.0, 3.0], [52.0, 11.0, 1.6]])


def build_regions(
    topology: Topology, source: Source, mean: Array, paint: dict[str, Array], expression: Array
) -> dict[str, Mask]:
    """Boolean (V,) masks by name; `_left` and `_right` are the subject's."""
    n = topology.n_vertices
    regions = {part: _mask(n, topology.part_vertices(part)) for part in dict.fromkeys(topology.quad_part)}
    regions["inner_mouth"] = regions.pop("mouth_cavity")
    regions["teeth"] = regions["teeth_upper"] | regions["teeth_lower"]
    regions["face"] = regions["skin"] & (paint["face"] > 0.5)
    regions |= _eyeball_parts(topology, regions)
    regions |= _lips(regions, paint, source, expression)
    regions |= _eyelids(regions, paint, source, expression, mean)
    regions["ears"] = regions["skin"] & (paint["ears"] > 0.5)
    regions |= _of_targets(topology, source, regions)
    regions["nostrils"] = regions["skin"] & in_dent(mean, nose_tip_of(mean, regions["skin"]))
    regions |= _forehead_scalp_neck(mean, regions)
    regions |= _brows(mean, regions)
    for name in ("ears", "cheeks", "nostrils"):
        regions[f"{name.rstrip('s')}_left"] = regions[name] & (mean[:, 0] > 0)
        regions[f"{name.rstrip('s')}_right"] = regions[name] & (mean[:, 0] < 0)
    return dict(sorted(regions.items()))


def brow_paint(
    points: Array,
    eye_left: Array,
    *,
    width: float = 1.0,
    outwards: float = 0.0,
    bend: Callable[[Array], Array] = np.zeros_like,
) -> Array:
    """How deep (…,) mean-head points (…, 3) lie inside the drawn brow: 1 on its middle line, 0 at its edge.

    A person's own brow is ``width`` times as wide, moved ``outwards``, and raised by ``bend`` of the way outwards, mm.
    """
    outward, up = np.abs(points[..., 0]) - outwards, points[..., 1] - eye_left[1]
    middle = np.interp(outward, BROW[:, 0], BROW[:, 1]) + bend(outward)
    half = np.interp(outward, BROW[:, 0], BROW[:, 2]) * width
    past_end = np.maximum(BROW[0, 0] - outward, outward - BROW[-1, 0]).clip(0.0)
    in_front = points[..., 2] > eye_left[2] - 15.0
    return np.where(in_front, 1 - np.hypot(up - middle, past_end) / half, -1.0)


def _mask(n: int, vertices: np.ndarray) -> Mask:
    mask = np.zeros(n, dtype=bool)
    mask[vertices] = True
    return mask


def _eyeball_parts(topology: Topology, regions: dict[str, Mask]) -> dict[str, Mask]:
    parts = {}
    degrees = np.concatenate([[0.0], np.repeat(RINGS, N_SEGMENTS), [180.0]])
    for side in ("left", "right"):
        ball = np.flatnonzero(regions[f"eyeball_{side}"])  # pole, rings, pole: the order they were built in
        n = topology.n_vertices
        parts[f"pupil_{side}"] = _mask(n, ball[degrees <= PUPIL_DEGREES])
        parts[f"iris_{side}"] = _mask(n, ball[(degrees >= PUPIL_DEGREES) & (degrees <= IRIS_DEGREES)])
        parts[f"sclera_{side}"] = _mask(n, ball[degrees >= IRIS_DEGREES])
    return parts


def _lips(regions: dict[str, Mask], paint: dict[str, Array], source: Source, expression: Array) -> dict[str, Mask]:
    """The lower lip is what the opening jaw takes along."""
    lips = (paint["lips"] > 0.5) & (regions["skin"] | regions["inner_mouth"])
    falls = -expression[source.expression_names.index("jawOpen"), :, 1]
    return {"lips": lips, "lip_lower": lips & (falls > 12.0), "lip_upper": lips & (falls < 12.0)}


def _eyelids(
    regions: dict[str, Mask], paint: dict[str, Array], source: Source, expression: Array, mean: Array
) -> dict[str, Mask]:
    """Upper lid: what a blink pulls down by over a millimetre. Lower: the rest of the painted lid margin."""
    lids = {}
    for side, blink in (("left", "eyeBlinkLeft"), ("right", "eyeBlinkRight")):
        half = mean[:, 0] > 0 if side == "left" else mean[:, 0] < 0
        falls = -expression[source.expression_names.index(blink), :, 1]
        upper = regions["skin"] & half & (falls > 1.0)
        lower = regions["skin"] & half & (paint["eyelids"] > 0.4) & ~upper
        lids[f"eyelid_upper_{side}"], lids[f"eyelid_lower_{side}"] = upper, lower
    lids["eyelids"] = np.logical_or.reduce(list(lids.values()))
    return lids


def _of_targets(topology: Topology, source: Source, regions: dict[str, Mask]) -> dict[str, Mask]:
    """Nose and cheeks: where MakeHuman's own targets of that name move the skin at a good part of their peak."""
    found = {}
    for name, targets, share in (
        ("nose", ("nose-volume-incr", "nose-scale-horiz-incr", "nose-hump-incr", "nose-trans-forward"), 0.35),
        ("cheeks", ("l-cheek-volume-incr", "r-cheek-volume-incr", "l-cheek-bones-incr", "r-cheek-bones-incr"), 0.3),
    ):
        reach = np.zeros(topology.n_vertices)
        for target in targets:
            row = len(source.targets) - 2 * len(source.local_names) + 2 * source.local_names.index(target)
            moved = np.linalg.norm(topology.apply(source.targets[row]), axis=-1)
            reach = np.maximum(reach, moved / moved.max())
        reach = np.maximum(reach, reach[topology.mirror])
        found[name] = (reach > share) & regions["face"]
    return found


def _forehead_scalp_neck(mean: Array, regions: dict[str, Mask]) -> dict[str, Mask]:
    """Forehead: the face above the brows. Scalp and neck: the rest of the skin, parted level with the ear lobes."""
    eye = mean[regions["eyeball_left"]].mean(axis=0)
    rest = regions["skin"] & ~regions["face"] & ~regions["ears"]
    below = mean[:, 1] < mean[regions["ears"], 1].min()
    forehead = regions["face"] & (mean[:, 1] > eye[1] + BROW[:, 1].max() + 3.0)
    return {"forehead": forehead, "scalp": rest & ~below, "neck": rest & below}


def _brows(mean: Array, regions: dict[str, Mask]) -> dict[str, Mask]:
    eye = mean[regions["eyeball_left"]].mean(axis=0)
    brows = regions["skin"] & (brow_paint(mean, eye) > -0.5)  # the mesh has few vertices there
    return {"brows": brows, "brow_left": brows & (mean[:, 0] > 0), "brow_right": brows & (mean[:, 0] < 0)}
