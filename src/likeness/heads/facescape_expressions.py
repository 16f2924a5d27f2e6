"""The names of FaceScape's expression axis and of its twenty key expressions, in ARKit's words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Slot of the expression axis -> ARKit's name. Slot 0 is the neutral face and has none; ARKit's tongueOut has no slot.
# The FaceScape names and order are those its authors published; the pairing goes by meaning.
_SLOTS = """
neutral -
EyeBlink_L eyeBlinkLeft
EyeBlink_R eyeBlinkRight
EyeSquint_L eyeSquintLeft
EyeSquint_R eyeSquintRight
EyeDown_L eyeLookDownLeft
EyeDown_R eyeLookDownRight
EyeIn_L eyeLookInLeft
EyeIn_R eyeLookInRight
EyeOpen_L eyeWideLeft
EyeOpen_R eyeWideRight
EyeOut_L eyeLookOutLeft
EyeOut_R eyeLookOutRight
EyeUp_L eyeLookUpLeft
EyeUp_R eyeLookUpRight
BrowsD_L browDownLeft
BrowsD_R browDownRight
BrowsU_C browInnerUp
BrowsU_L browOuterUpLeft
BrowsU_R browOuterUpRight
JawOpen jawOpen
LipsTogether mouthClose
JawLeft jawLeft
JawRight jawRight
JawFwd jawForward
LipsUpperUp_L mouthUpperUpLeft
LipsUpperUp_R mouthUpperUpRight
LipsLowerDown_L mouthLowerDownLeft
LipsLowerDown_R mouthLowerDownRight
LipsUpperClose mouthRollUpper
LipsLowerClose mouthRollLower
MouthSmile_L mouthSmileLeft
MouthSmile_R mouthSmileRight
MouthDimple_L mouthDimpleLeft
MouthDimple_R mouthDimpleRight
LipsStretch_L mouthStretchLeft
LipsStretch_R mouthStretchRight
MouthFrown_L mouthFrownLeft
MouthFrown_R mouthFrownRight
MouthPress_L mouthPressLeft
MouthPress_R mouthPressRight
LipsPucker mouthPucker
LipsFunnel mouthFunnel
MouthLeft mouthLeft
MouthRight mouthRight
ChinLowerRaise mouthShrugLower
ChinUpperRaise mouthShrugUpper
Sneer_L noseSneerLeft
Sneer_R noseSneerRight
Puff cheekPuff
CheekSquint_L cheekSquintLeft
CheekSquint_R cheekSquintRight
"""
_PAIRS = tuple(tuple(line.split()) for line in _SLOTS.split("\n") if line)

FACESCAPE_NAMES: tuple[str, ...] = tuple(ours for ours, _ in _PAIRS)
"""The 52 slots of the expression axis, neutral first, in FaceScape's spelling."""

ARKIT_NAMES: tuple[str, ...] = tuple(arkit for _, arkit in _PAIRS[1:])
"""The 51 slots after the neutral one, in ARKit's spelling."""

FACESCAPE_TO_ARKIT: Mapping[str, str | None] = MappingProxyType({a: None if b == "-" else b for a, b in _PAIRS})

KEY_EXPRESSIONS: tuple[str, ...] = (
    "neutral", "smile", "mouth_stretch", "anger", "jaw_left", "jaw_right", "jaw_forward", "mouth_left", "mouth_right",
    "dimpler", "chin_raiser", "lip_puckerer", "lip_funneler", "sadness", "lip_roll", "grin", "cheek_blowing",
    "eye_closed", "brow_raiser", "brow_lower",
)  # fmt: skip
"""The twenty expressions FaceScape's subjects performed, in the data set's order; displacement maps follow it."""
