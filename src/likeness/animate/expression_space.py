"""A Rig's expression space, read and written at the points that all heads share.

What another face does arrives as displacements of the bent open head (`likeness.heads.carried.person_template`); the
space finds its own weights for them, and the rotation of its jaw where it has that joint and no shape for it.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from likeness.arkit import ARKIT_NAMES
from likeness.arkit_rig import JAW, JAW_NAMES, NATIVE_RIDGE, RIDGE, SPARSITY
from likeness.errors import InputError
from likeness.heads.carried import face_parts, on_template, person_template
from likeness.heads.common_points import common_points
from likeness.heads.correspondence import registration_of_surface
from likeness.heads.deformation_transfer import DeformationTransfer, SourceShapes
from likeness.rig import Rig
from likeness.solve.box_least_squares import box_least_squares, smooth_least_squares

# How dear a radian of the jaw is beside a weight, in the same unit.
_JAW_RIDGE = 1e-3
_N_STEPS = 4
# Jaws open by less than this, rad; sideways and about the line of sight they turn little.
_JAW_LOWER, _JAW_UPPER = np.array([-0.1, -0.3, -0.2]), np.array([0.7, 0.3, 0.2])
# Shapes are carried at this amplitude of a rotation matrix's entries, where their gradients are still gentle.
_GENTLE = 0.2


class ExpressionSpace:
    """One Rig's. Raises InputError for a Rig without landmarks."""

    def __init__(self, rig: Rig) -> None:
        if "ibug68" not in rig.landmarks:
            raise InputError(
                "this rig does not know where its landmarks are, so expressions cannot be carried to or from it; make "
                "it anew with face.rig()."
            )
        self.rig = rig
        triangles = rig.topology.triangles
        self.registration = registration_of_surface(rig.neutral.astype(np.float64), triangles, rig.landmarks)
        self.template = person_template(self.registration, triangles, rig.neutral)
        self.points = common_points(self.registration, triangles)
        self.speaks_arkit = set(rig.blendshape_names) <= set(ARKIT_NAMES)

    # ------------------------------------------------------------------ as a source

    def movement(self, names: tuple[str, ...], weights: Float[np.ndarray, "F N"]) -> Basis:
        """What weights by name do to this face: a basis on the template and the coefficients of each frame.

        The names are those of the Rig's blendshapes and, for a Rig with a jaw joint, `JAW_NAMES`. Raises InputError on
        others that move.
        """
        place = {name: k for k, name in enumerate(self.rig.blendshape_names)}
        jaw_known = JAW in self.rig.joint_names
        moving = [k for k, name in enumerate(names) if np.abs(weights[:, k]).max(initial=0) > 0]
        unknown = [names[k] for k in moving if names[k] not in place and not (jaw_known and names[k] in JAW_NAMES)]
        if unknown:
            raise InputError(
                f"the source rig has no blendshape named {', '.join(unknown)}; is it the rig of this motion?"
            )
        shown = [k for k in moving if names[k] in place]
        fields = [self.rig.blendshapes[[place[names[k]] for k in shown]]]
        columns = [weights[:, shown]]
        if any(names[k] in JAW_NAMES for k in moving):
            turns = np.zeros((len(weights), 3))
            for k in moving:
                if names[k] in JAW_NAMES:
                    turns[:, JAW_NAMES.index(names[k])] = weights[:, k]
            fields.append(_GENTLE * self._jaw_fields())
            columns.append(_entries(turns) / _GENTLE)
        labels = tuple(names[k] for k in shown)
        everything = np.concatenate(fields)
        shapes = on_template(self.registration, self.rig.topology.triangles, everything.astype(np.float64))
        return Basis(labels, shapes, np.concatenate(columns, 1).astype(np.float64))

    def _jaw_fields(self) -> Float[np.ndarray, "9 V 3"]:
        """Displacements for each entry of (rotation of the jaw − 1): skinning is linear in them."""
        joint = self.rig.joint_names.index(JAW)
        arm = (self.rig.neutral - self.rig.joint_positions[joint]) * self.rig.skin_weights[:, joint, None]
        fields = np.zeros((3, 3, *arm.shape), np.float32)
        for row in range(3):
            for column in range(3):
                fields[row, column, :, row] = arm[:, column]
        return fields.reshape(9, *arm.shape)

    # ------------------------------------------------------------------ as a target

    def carried(self, source: ExpressionSpace, basis: Basis) -> Float[np.ndarray, "K N 3"]:
        """A basis on the source's template, as displacements of this face's template."""
        closes_with = np.arange(len(basis.shapes))
        if "mouthClose" in basis.names and "jawOpen" in basis.names:
            closes_with[basis.names.index("mouthClose")] = basis.names.index("jawOpen")
        shapes = SourceShapes(source.template, basis.shapes, closes_with)
        return DeformationTransfer(shapes, face_parts()).onto(self.template)

    def explained(
        self,
        shapes: Float[np.ndarray, "K N 3"],
        coefficients: Float[np.ndarray, "F K"],
        *,
        smoothness: float,
    ) -> tuple[Float[np.ndarray, "F B"], Float[np.ndarray, "F 3"] | None]:
        """The weights of this Rig that come nearest to Σ coefficient · shape in every frame, and its jaw's rotation
        vectors if it opens its mouth by that joint.

        ARKit's weights lie in [0, 1]; those of other spaces are only held small.
        """
        wanted = self.points.features_of_open(shapes)
        right = coefficients @ (wanted @ self._basis.T)
        if self.speaks_arkit:
            n = len(right.T)
            price = SPARSITY * np.trace(self._basis @ self._basis.T) / n
            weights = box_least_squares(self._gram, right - price, np.zeros(n), np.ones(n), smoothness=smoothness)
            return weights, None
        if not self.opens_by_joint:
            return smooth_least_squares(self._gram, right, smoothness=smoothness), None
        jaw = smooth_least_squares(np.eye(3), self._jaw_turns(wanted, coefficients), smoothness=smoothness)
        right -= _entries(jaw) @ (self._jaw_features @ self._basis.T)
        return smooth_least_squares(self._gram, right, smoothness=smoothness), jaw

    def _jaw_turns(
        self, wanted: Float[np.ndarray, "K D"], coefficients: Float[np.ndarray, "F K"]
    ) -> Float[np.ndarray, "F 3"]:
        """The jaw's rotation vectors, frame by frame, by Gauss–Newton: shapes enter linearly and are eliminated, the
        jaw enters by its rotation matrix's derivative.
        """
        # What the shapes cannot do of the jaw's fields, and of what is wanted.
        explained = np.linalg.solve(self._gram, self._basis @ self._jaw_features.T)
        alone = self._jaw_features @ self._jaw_features.T - (self._jaw_features @ self._basis.T) @ explained
        goals = coefficients @ (wanted @ self._jaw_features.T - (wanted @ self._basis.T) @ explained)
        ridge = _JAW_RIDGE * np.trace(self._gram) / len(self._gram) * np.eye(3)
        jaw = np.zeros((len(coefficients), 3))
        for _ in range(_N_STEPS):
            slopes = _rotation_slopes(jaw).reshape(-1, 3, 9)
            # Written for the jaw itself, not for its change, so that the ridge holds the rotation.
            here = np.einsum("fa,fai->fi", jaw, slopes) - _entries(jaw)
            right = slopes @ (goals + here @ alone)[..., None]
            system = slopes @ alone @ slopes.transpose(0, 2, 1) + ridge
            jaw = np.clip(np.linalg.solve(system, right)[..., 0], _JAW_LOWER, _JAW_UPPER)
        return jaw

    @property
    def opens_by_joint(self) -> bool:
        """Whether the mouth is opened by a joint and not by a shape."""
        return JAW in self.rig.joint_names and not self.speaks_arkit

    @cached_property
    def _basis(self) -> Float[np.ndarray, "B D"]:
        return self.points.features(self.rig.blendshapes)

    @cached_property
    def _gram(self) -> Float[np.ndarray, "B B"]:
        gram = self._basis @ self._basis.T
        ridge = RIDGE if self.speaks_arkit else NATIVE_RIDGE
        return gram + ridge * np.trace(gram) / len(gram) * np.eye(len(gram))

    @cached_property
    def _jaw_features(self) -> Float[np.ndarray, "9 D"]:
        return self.points.features(self._jaw_fields())


class Basis:
    """Displacements on a template (K, N, 3), named as far as they are blendshapes, and each frame's coefficients."""

    def __init__(
        self, names: tuple[str, ...], shapes: Float[np.ndarray, "K N 3"], coefficients: Float[np.ndarray, "F K"]
    ) -> None:
        self.names, self.shapes, self.coefficients = names, shapes, coefficients


def _entries(turns: Float[np.ndarray, "F 3"]) -> Float[np.ndarray, "F 9"]:
    """The entries of each rotation's matrix less one, row by row."""
    return (Rotation.from_rotvec(turns).as_matrix() - np.eye(3)).reshape(-1, 9)


def _rotation_slopes(turns: Float[np.ndarray, "F 3"], step: float = 1e-4) -> Float[np.ndarray, "F 3 3 3"]:
    """∂R/∂(each component of the rotation vector), by central differences: far below the noise of any motion."""
    slopes = np.empty((len(turns), 3, 3, 3))
    for axis in range(3):
        change = np.zeros(3)
        change[axis] = step
        up, down = (Rotation.from_rotvec(turns + sign * change).as_matrix() for sign in (1, -1))
        slopes[:, axis] = (up - down) / (2 * step)
    return slopes
