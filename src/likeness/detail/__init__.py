"""The fine relief of a face: read from shading, and how it follows the expression."""

from likeness.detail.photo import Detail, detail_from_photo

__all__ = ["Detail", "detail_from_photo"]
