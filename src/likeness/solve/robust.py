"""Robust losses as re-weighting: how much a residual of a given size still counts (Zhang 1997, table 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Robust(Protocol):
    """A loss rho of the squared residual norm s = |r|^2, with rho(s) ~ s near zero."""

    def loss(self, squared: Tensor) -> Tensor: ...

    def weight(self, squared: Tensor) -> Tensor:
        """d rho / d s: the factor of the squared residual in the equivalent least-squares step."""
        ...


@dataclass(frozen=True)
class Huber:
    """Quadratic up to ``threshold``, linear beyond: an outlier keeps a bounded pull."""

    threshold: float

    def loss(self, squared: Tensor) -> Tensor:
        norm = squared.clamp_min(1e-20).sqrt()
        return torch.where(norm <= self.threshold, squared, self.threshold * (2 * norm - self.threshold))

    def weight(self, squared: Tensor) -> Tensor:
        return (self.threshold / squared.clamp_min(1e-20).sqrt()).clamp_max(1.0)


@dataclass(frozen=True)
class GemanMcClure:
    """Saturates at ``threshold``^2: an outlier's pull vanishes."""

    threshold: float

    def loss(self, squared: Tensor) -> Tensor:
        return squared * self.threshold**2 / (squared + self.threshold**2)

    def weight(self, squared: Tensor) -> Tensor:
        return (self.threshold**2 / (squared + self.threshold**2)) ** 2
