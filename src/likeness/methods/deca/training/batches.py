"""What a training step sees: several photos of each of several people; and the exchange of codes among them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.methods.deca.geometry import DecaCode

Shared = Literal["shape", "detail"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Crops of B people, K photos each: RGB in [0, 1], landmarks in [-1, 1] over the crop, ``masks`` 1 on skin."""

    images: Float[Tensor, "B K 3 224 224"]
    landmarks: Float[Tensor, "B K 68 2"]
    masks: Float[Tensor, "B K 224 224"]

    @property
    def n_people(self) -> int:
        return self.images.shape[0]

    @property
    def n_photos(self) -> int:
        """Photos of each person."""
        return self.images.shape[1]

    def to(self, device: torch.device | str) -> Batch:
        """This batch on another device."""
        return Batch(*(tensor.to(device) for tensor in (self.images, self.landmarks, self.masks)))


@dataclass(frozen=True, eq=False)
class Samples:
    """A batch unrolled, and after `exchange` doubled: codes with the photos they should explain."""

    code: DecaCode
    images: Float[Tensor, "N 3 224 224"]
    landmarks: Float[Tensor, "N 68 2"]
    masks: Float[Tensor, "N 1 224 224"]


def unrolled(batch: Batch, code: DecaCode) -> Samples:
    """Every photo a sample."""
    return Samples(code, batch.images.flatten(0, 1), batch.landmarks.flatten(0, 1), batch.masks.flatten(0, 1)[:, None])


def exchange(samples: Samples, permutation: Int[Tensor, " N"], shared: Shared) -> Samples:
    """Twice the samples: the second half wears the ``shared`` code of another photo of the same person.

    All losses then ask that it explain this photo as well: the whole of DECA's shape and detail consistency.
    """
    code = samples.code
    swapped = replace(code, **{shared: getattr(code, shared)[permutation]})
    doubled = DecaCode(*(torch.cat(pair) for pair in zip(_fields(code), _fields(swapped), strict=True)))
    images, landmarks, masks = (torch.cat([x, x]) for x in (samples.images, samples.landmarks, samples.masks))
    return Samples(doubled, images, landmarks, masks)


def random_exchange(n_people: int, n_photos: int, generator: torch.Generator) -> Int[Tensor, " N"]:
    """For each person a random order of its photos."""
    orders = [torch.randperm(n_photos, generator=generator) + person * n_photos for person in range(n_people)]
    return torch.cat(orders)


def _fields(code: DecaCode) -> list[Tensor]:
    return [getattr(code, name) for name in DecaCode.__dataclass_fields__]
