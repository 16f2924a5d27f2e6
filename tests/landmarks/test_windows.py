"""Sampling of square windows: against a plain twin, and in places where the picture ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.landmarks.windows import SUBPIXELS, Window, sample_window

lengths = st.floats(-60, 60)


def sample_plainly(image: np.ndarray, window: Window, n_pixels: int, outside: str) -> np.ndarray:
    """Bilinear in floating point, a pixel at a time."""
    affine = window.to_image(n_pixels)
    result = np.zeros((n_pixels, n_pixels, 3))
    for j in range(n_pixels):
        for i in range(n_pixels):
            x, y = np.rint(affine @ [i, j, 1] * SUBPIXELS) / SUBPIXELS
            left, top = int(np.floor(x)), int(np.floor(y))
            for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                weight = (1 - abs(x - column)) * (1 - abs(y - row))
                inside = 0 <= row < image.shape[0] and 0 <= column < image.shape[1]
                if inside or outside == "edge":
                    row, column = np.clip(row, 0, image.shape[0] - 1), np.clip(column, 0, image.shape[1] - 1)
                    result[j, i] += weight * image[row, column]
    return result


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    window=st.builds(Window, lengths, lengths, st.floats(0.5, 90), st.floats(-4, 4)),
    outside=st.sampled_from(["edge", "black"]),
    seed=st.integers(0, 99),
)
def test_sampling_is_bilinear(shape: tuple[int, int], window: Window, outside: str, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    sampled = sample_window(image, window, 9, outside=outside)  # type: ignore[arg-type]
    # Half a grey level of rounding; positions that fall between two subpixels may be rounded either way.
    difference = np.abs(sampled - sample_plainly(image, window, 9, outside))
    assert np.mean(difference > 0.51) < 0.05
    assert difference.max() <= 2 * 255 / SUBPIXELS + 0.51


@given(window=st.builds(Window, lengths, lengths, st.floats(1, 500), st.floats(-4, 4)), n_pixels=st.integers(1, 300))
def test_window_corners(window: Window, n_pixels: int) -> None:
    """The middle maps to the middle, sides have the window's length, and the x axis has its angle."""
    affine = window.to_image(n_pixels)
    np.testing.assert_allclose(affine @ [n_pixels / 2, n_pixels / 2, 1], [window.x, window.y], atol=1e-6)
    along = affine @ [n_pixels, 0, 1] - affine @ [0, 0, 1]
    expected = window.side * np.array([np.cos(window.angle), np.sin(window.angle)])
    np.testing.assert_allclose(along, expected, atol=1e-6)


def test_far_away_windows() -> None:
    image = np.full((4, 4, 3), 200, np.uint8)
    far = Window(1e12, -1e12, 10)
    assert (sample_window(image, far, 8, outside="edge") == 200).all()
    assert (sample_window(image, far, 8, outside="black") == 0).all()


@pytest.mark.parametrize("n_pixels", [1, 31, 32, 33, 192])
def test_identity(n_pixels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (n_pixels, n_pixels, 3), dtype=np.uint8)
    window = Window(n_pixels / 2, n_pixels / 2, n_pixels)
    np.testing.assert_array_equal(sample_window(image, window, n_pixels, outside="edge"), image)
