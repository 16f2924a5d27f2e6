"""FLAME as a layer: codes and joint rotations to vertices, in FLAME's own frame and metres.

One matrix product adds shape, expression and pose correctives; the joints are regressed from the codes directly, by a
regressor that has been multiplied into the basis. Skinning is linear blend skinning. `flame_twin` in the tests is the
textbook version that this one is held to.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from likeness.errors import InputError
from likeness.heads.flame_files import N_JOINTS, N_SHAPE, FlameModel

N_POSE_FEATURES = 9 * (N_JOINTS - 1)


@dataclass(frozen=True, eq=False)
class FlameIdentity:
    """A shape code multiplied out once, for many expressions and poses: see `Flame.prepare`.

    ``surface`` (B, 3·V) and ``joints`` (B, 5·3) are the rest positions at expression zero.
    """

    surface: Float[Tensor, "B 3V"]
    joints: Float[Tensor, "B 15"]


class Flame(nn.Module):
    """The FLAME head: the first ``n_shape`` shape and ``n_expression`` expression components of a model file.

    Positions are metres in FLAME's frame. Rotations are rotation vectors of (root, neck, jaw, left eye, right eye)
    relative to the parent joint. Batched, differentiable, on any device. A batch of one broadcasts against the others.
    """

    template: Float[Tensor, " 3V"]
    shape_basis: Float[Tensor, "S 3V"]
    motion_basis: Float[Tensor, "E+36 3V"]
    joint_template: Float[Tensor, "15"]
    joint_basis: Float[Tensor, "S+E 15"]
    joint_regressor: Float[Tensor, "J V"]
    weights: Float[Tensor, "J V"]

    def __init__(self, model: FlameModel, *, n_shape: int = N_SHAPE, n_expression: int | None = None) -> None:
        super().__init__()
        n_expression = model.n_expression if n_expression is None else n_expression
        if not (0 <= n_shape <= N_SHAPE and 0 <= n_expression <= model.n_expression):
            raise InputError(
                f"FLAME has {N_SHAPE} shape and {model.n_expression} expression components; "
                f"{n_shape} and {n_expression} were asked for."
            )
        self.n_shape, self.n_expression = n_shape, n_expression
        self.n_vertices, self.parents = len(model.template), model.parents
        # Coordinate by coordinate (3, V), which skinning reads fastest.
        template = torch.from_numpy(model.template)
        directions = torch.from_numpy(model.shapedirs).permute(2, 1, 0)
        directions = torch.cat([directions[:n_shape], directions[N_SHAPE : N_SHAPE + n_expression]])
        correctives = torch.from_numpy(model.posedirs).permute(2, 1, 0)
        regressor = torch.from_numpy(model.joint_regressor)
        buffers = {
            "template": template.T.reshape(-1),
            "shape_basis": directions[:n_shape].reshape(n_shape, -1),
            "motion_basis": torch.cat([directions[n_shape:], correctives]).reshape(n_expression + N_POSE_FEATURES, -1),
            "joint_template": (regressor @ template).reshape(-1),
            "joint_basis": torch.einsum("jv,kcv->kjc", regressor, directions).reshape(len(directions), -1),
            "joint_regressor": regressor,
            "weights": torch.from_numpy(model.skin_weights).T,
        }
        for name, value in buffers.items():
            self.register_buffer(name, value.contiguous(), persistent=False)

    def forward(
        self,
        shape: Float[Tensor, "#B S"],
        expression: Float[Tensor, "#B E"] | None = None,
        rotations: Float[Tensor, "#B 5 3"] | None = None,
        *,
        offsets: Float[Tensor, "#B V 3"] | None = None,
    ) -> Float[Tensor, "B V 3"]:
        """Posed vertices, metres. ``offsets`` (metres) are added to the shape before skinning; joints do not follow."""
        return self.pose(self.prepare(shape, offsets=offsets), expression, rotations)

    def prepare(self, shape: Float[Tensor, "B S"], *, offsets: Float[Tensor, "#B V 3"] | None = None) -> FlameIdentity:
        """An identity, to be posed many times with `pose`."""
        self._check("shape", shape, self.n_shape)
        surface = self.template + shape @ self.shape_basis
        if offsets is not None:
            surface = surface + offsets.mT.flatten(1)
        joints = torch.addmm(self.joint_template, shape, self.joint_basis[: self.n_shape])
        return FlameIdentity(surface, joints)

    def pose(
        self,
        identity: FlameIdentity,
        expression: Float[Tensor, "#B E"] | None = None,
        rotations: Float[Tensor, "#B 5 3"] | None = None,
    ) -> Float[Tensor, "B V 3"]:
        """Vertices of a prepared identity with an expression and joint rotations, metres."""
        expression, rotations = self._motion(identity, expression, rotations)
        matrices = roma.rotvec_to_rotmat(rotations)
        joints = identity.joints + expression @ self.joint_basis[self.n_shape :]
        identity_matrix = torch.eye(3, dtype=matrices.dtype, device=matrices.device)
        correctives = (matrices[:, 1:] - identity_matrix).flatten(1)
        n = max(len(expression), len(correctives))
        features = torch.cat([expression.expand(n, -1), correctives.expand(n, -1)], 1)
        # Not `addmm`: millimetres summed up alone keep a digit more than millimetres added to decimetres one by one.
        surface = identity.surface + features @ self.motion_basis
        return self._skin(surface, *self._chain(matrices, joints.view(-1, N_JOINTS, 3)))

    def first(self, n_shape: int, n_expression: int) -> Flame:
        """The layer of the first so many components of this one."""
        if n_shape > self.n_shape or n_expression > self.n_expression:
            raise InputError(f"this FLAME layer has {self.n_shape} and {self.n_expression} components.")
        smaller = copy.copy(self)
        smaller._buffers = dict(self._buffers)
        smaller.n_shape, smaller.n_expression = n_shape, n_expression
        smaller.shape_basis = self.shape_basis[:n_shape]
        correctives = self.motion_basis[self.n_expression :]
        smaller.motion_basis = torch.cat([self.motion_basis[:n_expression], correctives])
        expressions = self.joint_basis[self.n_shape : self.n_shape + n_expression]
        smaller.joint_basis = torch.cat([self.joint_basis[:n_shape], expressions])
        return smaller

    def exaggerate(self, factors: Float[Tensor, " E"], region: Bool[Tensor, " V"]) -> Flame:
        """A layer whose expression components act ``factors`` times as strongly within a region of the surface.

        Joints follow: they are regressed from the changed surface.
        """
        changed = copy.copy(self)
        changed._buffers = dict(self._buffers)
        scale = torch.where(region, factors[:, None], torch.ones_like(factors)[:, None])
        directions = self.motion_basis[: self.n_expression].view(-1, 3, self.n_vertices) * scale[:, None]
        changed.motion_basis = torch.cat([directions.flatten(1), self.motion_basis[self.n_expression :]])
        joints = torch.einsum("jv,kcv->kjc", self.joint_regressor, directions).flatten(1)
        changed.joint_basis = torch.cat([self.joint_basis[: self.n_shape], joints])
        return changed

    def joints(
        self, shape: Float[Tensor, "#B S"], expression: Float[Tensor, "#B E"] | None = None
    ) -> Float[Tensor, "B 5 3"]:
        """Rest positions of the joints, metres. Expression moves them too: they come from the whole surface."""
        self._check("shape", shape, self.n_shape)
        joints = torch.addmm(self.joint_template, shape, self.joint_basis[: self.n_shape])
        if expression is not None:
            self._check("expression", expression, self.n_expression)
            joints = joints + expression @ self.joint_basis[self.n_shape :]
        return joints.view(-1, N_JOINTS, 3)

    def _motion(self, identity: FlameIdentity, expression: Tensor | None, rotations: Tensor | None):
        if expression is None:
            expression = identity.surface.new_zeros(1, self.n_expression)
        if rotations is None:
            rotations = identity.surface.new_zeros(1, N_JOINTS, 3)
        self._check("expression", expression, self.n_expression)
        if rotations.ndim != 3 or rotations.shape[1:] != (N_JOINTS, 3):
            raise InputError(f"FLAME's rotations must be (B, {N_JOINTS}, 3), got {tuple(rotations.shape)}.")
        return expression, rotations

    def _chain(
        self, matrices: Float[Tensor, "#B 5 3 3"], joints: Float[Tensor, "#B 5 3"]
    ) -> tuple[Float[Tensor, "B 5 3 3"], Float[Tensor, "B 5 3"]]:
        """Rotation and shift by which each joint carries a point of the rest pose."""
        turns, places = [matrices[:, 0]], [joints[:, 0]]
        for joint, parent in enumerate(self.parents[1:], start=1):
            step = (joints[:, joint] - joints[:, parent])[..., None]
            turns.append(turns[parent] @ matrices[:, joint])
            places.append((turns[parent] @ step)[..., 0] + places[parent])
        turn, place = torch.stack(turns, 1), torch.stack(torch.broadcast_tensors(*places), 1)
        shift = place - (turn @ joints[..., None])[..., 0]
        return turn.expand(len(shift), -1, -1, -1), shift

    def _skin(
        self, surface: Float[Tensor, "B 3V"], turns: Float[Tensor, "#B 5 3 3"], shifts: Float[Tensor, "#B 5 3"]
    ) -> Float[Tensor, "B V 3"]:
        carried = torch.cat([turns, shifts[..., None]], -1).permute(0, 3, 2, 1).flatten(1, 2)
        columns = (carried @ self.weights).view(-1, 4, 3, self.n_vertices)
        surface = surface.view(-1, 3, self.n_vertices)
        posed = columns[:, 3]
        for axis in range(3):
            posed = torch.addcmul(posed, columns[:, axis], surface[:, axis, None])
        return posed.mT

    def _check(self, name: str, code: Tensor, n: int) -> None:
        if code.ndim != 2 or code.shape[1] != n:
            raise InputError(f"FLAME's {name} code must be (B, {n}), got {tuple(code.shape)}.")
