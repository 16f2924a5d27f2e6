"""Two photos of one person, solved together: one identity, two expressions and cameras."""

import numpy as np
import skimage

import likeness


def main() -> None:
    photo = skimage.data.astronaut()
    mirrored = np.ascontiguousarray(photo[:, ::-1])
    first, second = likeness.reconstruct(photo, mirrored, same_person=True)
    print("one identity:", bool((first.identity == second.identity).all()))
    print("turned", [round(float(face.camera.rotation[0, 0, 2]), 2) for face in (first, second)], "(sine of the yaw)")


if __name__ == "__main__":
    main()
