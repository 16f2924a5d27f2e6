"""How a person looks in a photo: the light on them, the colour of their skin, and where it is seen."""

from likeness.appearance.read import Appearance, read_appearance

__all__ = ["Appearance", "read_appearance"]
