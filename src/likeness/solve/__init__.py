"""Batched non-linear least squares, shared by every model fit."""

from likeness.solve.levenberg_marquardt import Problem, Solution, levenberg_marquardt
from likeness.solve.robust import Huber, GemanMcClure, Robust

__all__ = ["GemanMcClure", "Huber", "Problem", "Robust", "Solution", "levenberg_marquardt"]
