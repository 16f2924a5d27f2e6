"""The fine relief of a face: read from shading, and how it follows the expression."""

from likeness.detail.maps import DetailMaps, solve_detail_maps
from likeness.detail.photo import Detail, detail_from_photo
from likeness.detail.wrinkles import WrinkleModel, learn_wrinkles, wrinkle_maps

__all__ = [
    "Detail",
    "DetailMaps",
    "WrinkleModel",
    "detail_from_photo",
    "learn_wrinkles",
    "solve_detail_maps",
    "wrinkle_maps",
]
