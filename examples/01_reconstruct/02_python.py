"""The same from Python: every face of a photo, its mesh, landmarks, weights and pictures."""

import skimage

import likeness


def main() -> None:
    faces = likeness.reconstruct(skimage.data.astronaut())
    face = faces[0]
    mesh = face.mesh()
    print(f"{len(faces)} face; mesh {mesh.vertices.shape} mm, {len(mesh.triangles)} triangles")

    landmarks = face.landmarks("ibug68")
    print(f"nose tip at {landmarks.image[30].round(1)} px, {landmarks.head[30].round(1)} mm")

    strongest = sorted(face.weights.items(), key=lambda item: -item[1])[:5]
    print("expression:", ", ".join(f"{name} {weight:.2f}" for name, weight in strongest))

    picture = face.render(yaw=30, size=256)
    print(f"a picture {picture.shape} uint8, mean {picture.mean():.0f}")


if __name__ == "__main__":
    main()
