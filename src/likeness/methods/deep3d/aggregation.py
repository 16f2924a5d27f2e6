"""Several photos of one person: one identity, the mean of the photos' own, each weighted by how far to trust it.

    α = Σ_j c_j ⊙ α_j ⊘ Σ_j c_j          (Deng et al. 2019, section on image sets)

Only identity is shared; expression, albedo, pose and light stay each photo's own. The weights c are either C-Net's
(`likeness.methods.deep3d.cnet`), whose trained numbers were never released, or those of `confidence`, which need
none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from likeness.errors import InputError
from likeness.methods.deep3d.alignment import CROP

# No photo counts for nothing: with all photos bad, their mean is still the best there is.
FLOOR = 0.02
# An occluder covers what the face cannot explain: this far off in RGB distance, and this often the typical error.
_OUTLIER_DISTANCE, _OUTLIER_RATIO = 0.12, 2.5
# Landmarks this many pixels of the crop off say that the network did not see what the detector saw.
_LANDMARK_SIGMA = 6.0
_REBLUR = 9


@dataclass(frozen=True, eq=False)
class Confidence:
    """What speaks for each photo of a batch, each (B,) in [0, 1].

    ``pose`` falls with the angle away from the camera. ``resolution`` is below 1 where the face was enlarged for the
    crop. ``sharpness`` compares fine with coarse detail. ``occlusion`` falls with the part of the face that the
    rendering cannot explain. ``landmarks`` falls with the distance between predicted and detected landmarks.
    """

    pose: Float[Tensor, " B"]
    resolution: Float[Tensor, " B"]
    sharpness: Float[Tensor, " B"]
    occlusion: Float[Tensor, " B"]
    landmarks: Float[Tensor, " B"]

    @property
    def total(self) -> Float[Tensor, " B"]:
        """Their product, at least `FLOOR`."""
        product = self.pose * self.resolution * self.sharpness * self.occlusion * self.landmarks
        return product.clamp_min(FLOOR)


def aggregate(identities: Float[Tensor, "M 80"], confidence: Float[Tensor, "M #80"]) -> Float[Tensor, " 80"]:
    """The set's identity from those of its photos, weighted coefficient by coefficient.

    Raises InputError unless every weight is positive and finite.
    """
    if confidence.ndim != 2 or len(confidence) != len(identities) or not len(identities):
        raise InputError(
            f"{len(identities)} identities need as many confidences, (photos, 1) or (photos, 80); they have shape "
            f"{tuple(confidence.shape)}."
        )
    if not bool((torch.isfinite(confidence) & (confidence > 0)).all()):
        raise InputError("Every confidence must be a positive number.")
    return (confidence * identities).sum(0) / confidence.expand_as(identities).sum(0)


def confidence(
    *,
    crops: Float[Tensor, "B 3 224 224"],
    rendering: Float[Tensor, "B 3 224 224"],
    mask: Float[Tensor, "B 224 224"],
    angles: Float[Tensor, "B 3"],
    scale: Float[Tensor, " B"],
    predicted: Float[Tensor, "B N 2"] | None = None,
    detected: Float[Tensor, "B N 2"] | None = None,
) -> Confidence:
    """Judge photos by what is known without any learned weight.

    ``rendering`` and ``mask`` are the reconstruction in the crop, RGB in [0, 1]. ``scale`` is pixels of the crop per
    pixel of the photo. ``predicted`` and ``detected`` are the same landmarks, pixels of the crop; without them that
    part is 1.
    """
    return Confidence(
        pose=_pose(angles),
        # The network shrugs off some enlargement: errors grow far slower than pixels vanish.
        resolution=scale.rsqrt().clamp(FLOOR, 1),
        sharpness=_sharpness(crops, mask),
        occlusion=_unexplained(crops, rendering, mask),
        landmarks=_landmarks(predicted, detected, crops),
    )


def _pose(angles: Float[Tensor, "B 3"]) -> Float[Tensor, " B"]:
    """The squared cosine between the face's axis and the view; roll does not hide anything."""
    return (angles[:, 0].cos() * angles[:, 1].cos()).clamp_min(0).square().clamp_min(FLOOR)


def _sharpness(crops: Tensor, mask: Tensor) -> Float[Tensor, " B"]:
    """How much of the picture's variation a strong blur takes away: little, where it was blurred before.

    After Crete et al. 2007, *The blur effect*, along both axes, on the face alone.
    """
    grey = crops.mean(1, keepdim=True)
    lost = []
    for kernel, axis in (((1, _REBLUR), 3), ((_REBLUR, 1), 2)):
        padding = (kernel[0] // 2, kernel[1] // 2)
        blurred = F.avg_pool2d(grey, kernel, 1, padding, count_include_pad=False)
        before, after = grey.diff(dim=axis).abs(), blurred.diff(dim=axis).abs()
        inside = mask[:, None].narrow(axis, 1, CROP - 1)
        total = (before * inside).sum((1, 2, 3))
        lost.append(((before - after).clamp_min(0) * inside).sum((1, 2, 3)) / total.clamp_min(1e-6))
    return torch.stack(lost).amin(0).clamp(FLOOR, 1)


def _unexplained(crops: Tensor, rendering: Tensor, mask: Tensor) -> Float[Tensor, " B"]:
    """1 less twice the part of the face where the photo differs from the rendering far more than it typically does."""
    distance = (crops - rendering).norm(dim=1)
    covered = mask > 0
    parts = []
    for error, inside in zip(distance, covered, strict=True):
        if not bool(inside.any()):
            parts.append(error.new_tensor(FLOOR))
            continue
        typical = error[inside].median()
        outlier = error[inside] > torch.clamp(_OUTLIER_RATIO * typical, min=_OUTLIER_DISTANCE)
        parts.append((1 - 2 * outlier.float().mean()).clamp_min(FLOOR))
    return torch.stack(parts)


def _landmarks(predicted: Tensor | None, detected: Tensor | None, crops: Tensor) -> Float[Tensor, " B"]:
    if predicted is None or detected is None:
        return crops.new_ones(len(crops))
    distance = (predicted - detected).norm(dim=-1).median(1).values
    return torch.exp(-((distance / _LANDMARK_SIGMA) ** 2) / 2).clamp_min(FLOOR)
