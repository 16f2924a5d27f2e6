"""Materials and their pictures, to and from glTF."""

from typing import Any

from likeness.files.glb.container import BinaryChunk
from likeness.files.glb.document import Document
from likeness.files.glb.model import GlbImage, GlbMaterial

_ALPHA_MODES = ("OPAQUE", "MASK", "BLEND")
_MIME_TYPES = ("image/png", "image/jpeg")


class MaterialTable:
    """Gathers materials, textures and images, each written once however many parts share it."""

    def __init__(self, chunk: BinaryChunk) -> None:
        self._chunk = chunk
        self._materials: dict[GlbMaterial, tuple[int, dict[str, Any]]] = {}
        self._images: dict[GlbImage, tuple[int, dict[str, Any]]] = {}

    def index(self, material: GlbMaterial) -> int:
        if material not in self._materials:
            self._materials[material] = (len(self._materials), self._describe(material))
        return self._materials[material][0]

    def document(self) -> dict[str, Any]:
        """The root properties that hold what was gathered."""
        found: dict[str, Any] = {"materials": [described for _, described in self._materials.values()]}
        if self._images:
            found["textures"] = [{"sampler": 0, "source": i} for i in range(len(self._images))]
            found["images"] = [described for _, described in self._images.values()]
            found["samplers"] = [{"magFilter": 9729, "minFilter": 9987}]  # linear, through mipmaps
        return found

    def _describe(self, material: GlbMaterial) -> dict[str, Any]:
        surface: dict[str, Any] = {
            "baseColorFactor": [float(c) for c in material.base_colour],
            "metallicFactor": 0.0,
            "roughnessFactor": float(material.roughness),
        }
        if material.base_colour_image is not None:
            surface["baseColorTexture"] = {"index": self._texture(material.base_colour_image)}
        described: dict[str, Any] = {"name": material.name, "pbrMetallicRoughness": surface}
        if material.normal_image is not None:
            described["normalTexture"] = {"index": self._texture(material.normal_image)}
        if material.alpha_mode != "OPAQUE":
            described["alphaMode"] = material.alpha_mode
        if material.double_sided:
            described["doubleSided"] = True
        return described

    def _texture(self, image: GlbImage) -> int:
        if image not in self._images:
            described = {"bufferView": self._chunk.add_view(image.data), "mimeType": image.mime_type}
            self._images[image] = (len(self._images), described)
        return self._images[image][0]


def read_materials(doc: Document) -> list[GlbMaterial]:
    """All materials of a file; metal, emission and other properties that `GlbMaterial` lacks are not read."""
    images = [_read_image(doc, image) for image in doc.objects(doc.root, "images")]
    return [_read_material(doc, material, images) for material in doc.objects(doc.root, "materials")]


def _read_image(doc: Document, image: dict[str, Any]) -> GlbImage:
    mime_type = doc.string(image, "mimeType", "")
    if "uri" in image or mime_type not in _MIME_TYPES:
        doc.fail("a picture in it is not an embedded PNG or JPEG")
    return GlbImage(doc.copied_view(doc.integer(image, "bufferView")), mime_type)


def _read_material(doc: Document, material: dict[str, Any], images: list[GlbImage]) -> GlbMaterial:
    surface = doc.object(material, "pbrMetallicRoughness")
    alpha_mode = doc.string(material, "alphaMode", "OPAQUE")
    if alpha_mode not in _ALPHA_MODES:
        doc.fail(f"{alpha_mode!r:.40} is no alpha mode")
    red, green, blue, alpha = (1.0,) * 4
    if "baseColorFactor" in surface:
        red, green, blue, alpha = doc.numbers(surface, "baseColorFactor", 4)
    return GlbMaterial(
        name=doc.string(material, "name", "material"),
        base_colour=(red, green, blue, alpha),
        base_colour_image=_texture_image(doc, surface, "baseColorTexture", images),
        normal_image=_texture_image(doc, material, "normalTexture", images),
        roughness=doc.number(surface, "roughnessFactor", 1.0),
        alpha_mode=alpha_mode,
        double_sided=material.get("doubleSided") is True,
    )


def _texture_image(doc: Document, parent: dict[str, Any], key: str, images: list[GlbImage]) -> GlbImage | None:
    if key not in parent:
        return None
    info = doc.object(parent, key)
    if doc.integer(info, "texCoord", 0) != 0:
        doc.fail("a texture uses a second set of uv coordinates (only the first is read)")
    source = doc.integer(doc.item("textures", doc.integer(info, "index")), "source")
    return images[source] if source < len(images) else doc.fail(f"there is no images[{source}]")
