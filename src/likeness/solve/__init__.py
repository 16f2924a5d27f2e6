"""Batched non-linear least squares, shared by every model fit."""

from likeness.solve.levenberg_marquardt import Objective, Problem, Solution, levenberg_marquardt
from likeness.solve.robust import GemanMcClure, Huber, Robust

__all__ = ["GemanMcClure", "Huber", "Objective", "Problem", "Robust", "Solution", "levenberg_marquardt"]
