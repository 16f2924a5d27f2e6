"""The three terms the descent goes down, each with its gradient in closed form and the summary its step network reads.

E = 0.25 · features + 0.025 · landmarks + photometric. Feature and landmark terms move the vertices, the photometric
term moves the albedo alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.methods.inorig.pose import CROP_SIZE, crop_to_pixels
from likeness.methods.inorig.sampling import Maps

FEATURE_WEIGHT, LANDMARK_WEIGHT, PHOTO_WEIGHT = 0.25, 0.025, 1.0
# The jaw line's landmarks slide along the silhouette when the head turns; chin and inner face stay put.
_JAW = (0, 1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 16)


@dataclass(frozen=True, eq=False)
class Term:
    """``value``, its ``gradient`` with respect to what it moves, and per photo a ``summary`` of its residuals."""

    value: Float[Tensor, ""]
    gradient: Tensor
    summary: Float[Tensor, "V K"]


def feature_term(
    maps: Maps, vertices: Float[Tensor, "V N 3"], visible: Bool[Tensor, "V N"], region: Int[Tensor, " R"]
) -> Term:
    """How differently the photos' features look at the vertices they share; gradient (V, N, 3) at the vertices.

    Mean over pairs of photos, and over the vertices both see, of the squared distance of features. A pair without a
    common vertex is left out; with none left (or a single photo) the term is zero.
    """
    seen = visible[:, region]
    shared = region[seen.sum(0) > 1]
    n_photos = len(vertices)
    gradient = torch.zeros_like(vertices)
    summary = vertices.new_zeros(n_photos, maps.values.shape[-1])
    common = {(i, j): visible[i, shared] & visible[j, shared] for i, j in combinations(range(n_photos), 2)}
    common = {pair: index for pair, mask in common.items() if len(index := mask.nonzero()[:, 0])}
    if not common:
        return Term(vertices.new_zeros(()), gradient, summary)
    points = crop_to_pixels(vertices[:, shared])
    features = maps.at(points)
    slope, value = torch.zeros_like(features), vertices.new_zeros(())
    n_pairs = vertices.new_zeros(n_photos, 1)
    for (i, j), index in common.items():
        difference = features[i, index] - features[j, index]
        value = value + difference.square().sum() / len(index)
        pull = difference * (2 / (len(index) * len(common)))
        slope[i].index_add_(0, index, pull)
        slope[j].index_add_(0, index, pull, alpha=-1)
        size = difference.abs().mean(0)
        for photo in (i, j):
            summary[photo] += size
            n_pairs[photo] += 1
    gradient[:, shared] = _to_vertices(maps, points, slope)
    return Term(value / len(common), gradient, summary / n_pairs.clamp_min(1))


def _to_vertices(maps: Maps, points: Float[Tensor, "V N 2"], slope: Float[Tensor, "V N C"]) -> Float[Tensor, "V N 3"]:
    along_x, along_y = maps.slopes_at(points)
    by_x, by_y = torch.linalg.vecdot(slope, along_x), torch.linalg.vecdot(slope, along_y)
    # Rows count downwards, the crop frame's y upwards.
    return torch.stack([by_x, -by_y, torch.zeros_like(by_x)], -1)


def landmark_term(
    vertices: Float[Tensor, "V N 3"],
    landmarks: Float[Tensor, "V 68 2"],
    model_landmarks: Int[Tensor, " 68"],
    not_hidden: Bool[Tensor, "V N"],
    visible: Bool[Tensor, "V N"],
) -> Term:
    """Squared pixels between the detected landmarks and the model's; gradient (V, N, 3) at the vertices.

    A landmark of the jaw whose vertex is hidden is compared with the visible vertex nearest to it in the image.
    """
    index, used = matched_vertices(vertices, landmarks, model_landmarks, not_hidden, visible)
    pixels = crop_to_pixels(vertices)
    found = torch.take_along_dim(pixels, index[..., None], 1)
    difference = (found - landmarks) * used[..., None]
    count = difference[..., 0].numel()
    pull = torch.nn.functional.pad(difference * difference.new_tensor([2.0, -2.0]) / count, (0, 1))
    gradient = torch.zeros_like(vertices).scatter_add_(1, index[..., None].expand_as(pull), pull)
    return Term(difference.square().sum() / count, gradient, difference.abs().mean(1) / (CROP_SIZE - 1))


def matched_vertices(
    vertices: Float[Tensor, "V N 3"],
    landmarks: Float[Tensor, "V 68 2"],
    model_landmarks: Int[Tensor, " 68"],
    not_hidden: Bool[Tensor, "V N"],
    visible: Bool[Tensor, "V N"],
) -> tuple[Int[Tensor, "V 68"], Bool[Tensor, "V 68"]]:
    """The vertex each landmark is compared with, and whether it is at all (not when its own is hidden and none is
    visible to stand in)."""
    index = model_landmarks.repeat(len(vertices), 1)
    used = torch.ones_like(index, dtype=torch.bool)
    jaw = model_landmarks.new_tensor(_JAW)
    hidden = ~not_hidden[:, model_landmarks[jaw]]
    pixels = crop_to_pixels(vertices)
    for photo in range(len(vertices)):
        slipped = jaw[hidden[photo]]
        candidates = visible[photo].nonzero()[:, 0]
        if not len(candidates):
            used[photo, slipped] = False
        elif len(slipped):
            offsets = landmarks[photo, slipped][:, None] - pixels[photo, candidates]
            index[photo, slipped] = candidates[offsets.square().sum(-1).argmin(1)]
    return index, used


def photometric_term(
    colours: Float[Tensor, "V N 3"], seen_colours: Float[Tensor, "V N 3"], visible: Bool[Tensor, "V N"]
) -> Term:
    """Squared difference of model and photo colours at the visible vertices; gradient (V, N, 3) at the colours."""
    difference = (colours - seen_colours) * visible[..., None]
    count = visible.numel()
    squared = difference.square()
    return Term(squared.sum() / count, difference * (2 / count), squared.mean(1))
