"""Landmarks: where the features of a face are in a photo.

Every detector follows `LandmarkDetector`. `MediaPipe` is the default and needs nothing but this package; `Fan` is an
optional extra; `Given` repeats points that the user already has.
"""

from likeness.landmarks.base import LandmarkDetector, Landmarks
from likeness.landmarks.conventions import Convention
from likeness.landmarks.fan import Fan
from likeness.landmarks.given import Given
from likeness.landmarks.mediapipe import MediaPipe
from likeness.landmarks.tracker import Track, Tracker

__all__ = ["Convention", "Fan", "Given", "LandmarkDetector", "Landmarks", "MediaPipe", "Track", "Tracker"]
