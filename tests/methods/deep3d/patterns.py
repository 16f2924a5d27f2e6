"""Pictures out of integer arithmetic, so that recorded crops need no stored photographs."""

import numpy as np


def pattern(width: int, height: int, k: int = 0) -> np.ndarray:
    """(height, width, 3) uint8 RGB: ramps and blocks, and a disc in the middle."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    channels = []
    for c in range(3):
        ramp = x * (3 + c + k) // 4 + y * (5 - c) // 6
        block = (((x // 16) ^ (y // (12 + 2 * c))) * (11 + 7 * k)) % 64
        channels.append((ramp + block + 40 * c + 17 * k) % 256)
    out = np.stack(channels, -1)
    disc = (x - width // 2) ** 2 + (y - height // 2) ** 2 < (min(width, height) // 4) ** 2
    out[disc] = (out[disc] + [200, 140, 110]) // 2
    return out.astype(np.uint8)


def mask_pattern(width: int, height: int, k: int = 0) -> np.ndarray:
    """(height, width, 3) uint8, equal channels: a mask with soft edges."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    distance = (x - width // 2) ** 2 + (y - (height // 2 + 3 * k)) ** 2
    mask = np.clip(255 - distance * 255 // (min(width, height) ** 2 // 3 + 1), 0, 255)
    return np.repeat(mask[..., None], 3, 2).astype(np.uint8)
