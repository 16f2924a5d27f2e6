"""Likeness: from photographs and videos of a face to a riggable 3D likeness, and its animation."""

__version__ = "0.1.0"
