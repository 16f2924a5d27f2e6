"""A photo of a face, drawn again with another expression.

Every pixel of the new picture sees a point of the moved surface. Where the photo shows that point, the pixel takes the
photo's colour from there, at the photo's own resolution; so what does not move is the photo itself, to the bit, and
there is no seam where motion dies away. What the photo hides comes from `colours`. Outside the head's outline the
picture is dragged along with it, less and less with distance, so that no second chin is left where the first one was
(the warp of Averbuch-Elor et al. 2017, *Bringing Portraits to Life*, with its motion read from a 3D head).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from likeness.face import Face
from likeness.filters import smoothstep
from likeness.push_pull import fill_holes
from likeness.reenactment.colours import facing_camera, hidden_colours
from likeness.reenactment.parts import HeadParts, Part, head_parts
from likeness.reenactment.registration import landmark_shifts
from likeness.reenactment.sight import Pixels, Sight, Window, see
from likeness.reenactment.slits import Slits, close_lids
from likeness.render import rasterize

# How far about the face the window reaches, in heights of the face: left, top, right, bottom (a jaw drops).
_MARGINS = (0.18, 0.10, 0.18, 0.30)
# How far outside the outline the picture is dragged along, in parts of the window's longer side.
_DRAGGED = 0.16
_FADE = 0.06
# How far inwards the mask's border is soft where the outline cuts the face off, in parts of the window's height.
_SOFT_EDGE = 0.012
# Photo pixels of motion from which a pixel counts as moved: below, it keeps the photo's own value.
_STILL, _MOVED = 0.03, 0.20
# Likewise, where the head's own shape would hide the photo's pixel, though nothing moves there.
_RESTING, _LEAVING = 0.3, 1.2
# By what factor a surface may turn towards the camera before its own pixels of the photo smear.
_SMEARED, _EDGE_ON = (1.8, 3.2), 0.02
# Lids closer than this share of their distance in the photo show lashes, no eyeball.
_LIDS_SHUT = (0.10, 0.30)
_LASHES = 0.25
# How much of a lid that is drawn out of nothing is the skin from below the eye, and how much darker it lies.
_LID_SMOOTHING, _LID_SHADE = 0.8, 0.93
_DOWN = torch.tensor([0.0, -1.0, 0.0])
# Wide eyes need more than the head's own blink to be shut, but not without end.
_STRONGEST_BLINK = 1.6
# By eye, the subject's right first, as iBUG counts.
_BLINKS = ("eyeBlinkRight", "eyeBlinkLeft")
_UPPER_LID, _LOWER_LID = ((37, 38), (43, 44)), ((41, 40), (47, 46))


@dataclass(frozen=True, eq=False)
class PortraitFrame:
    """``picture`` (H, W, 3) the whole photo re-rendered; ``mask`` (H, W) in [0, 1] how far a pixel is the face's own,
    soft at its border; ``depth`` (H, W) mm, NaN where the head is not (see `likeness.portraits.depth_of`)."""

    picture: UInt8[np.ndarray, "H W 3"]
    mask: Float[np.ndarray, "H W"]
    depth: Float[np.ndarray, "H W"]

    @property
    def masked(self) -> UInt8[np.ndarray, "H W 3"]:
        """The picture where the face is, fading to black: ``masked + (1 - mask) · picture`` is the picture again."""
        return (self.picture * self.mask[..., None] + 0.5).astype(np.uint8)


class Portrait:
    """A Face and its photo, prepared to be drawn many times.

    ``face_weights`` says where the face is on heads that do not say it themselves. ``head_moves`` prepares for frames
    that turn the head: the window then holds all of it. Raises InputError when nothing says where the face is.
    """

    def __init__(
        self,
        face: Face,
        pixels: UInt8[np.ndarray, "H W 3"],
        *,
        face_weights: Float[Tensor, " V"] | None = None,
        head_moves: bool = False,
    ) -> None:
        self.face, self.pixels = face, pixels
        self.parts: HeadParts = head_parts(face.head, face_weights)
        self.triangles = face.head.topology.triangles_tensor
        self.shifts = landmark_shifts(face)
        about = torch.ones_like(self.parts.face) if head_moves else self.parts.face
        on_photo = face.camera.project(face.vertices[None])[0] + self.shifts
        self.window = Window.about(on_photo[about > 0], _MARGINS, pixels.shape[:2])
        self._camera = face.camera.apply(self.window.similarity)
        self._photo = Pixels(pixels, self.window)
        self._source = self._see(face.vertices)
        self._slits = Slits.of(face.head, self._source.vertices_px)
        self._hidden = hidden_colours(face, self.parts, self._source, self._slits, self._photo)
        self._centres = self.window.centres()
        self._facing = facing_camera(face)
        self._fade = self.window.edge_fade(pixels.shape[:2], _FADE * max(self.window.size))
        self._apertures = self._aperture(face.vertices)
        self._lid_colours = [self._skin_at(eye.skin_below) for eye in self._slits.eyes]

    def draw(self, worn: Face) -> PortraitFrame:
        """The photo with what another Face of the same head and camera wears."""
        worn = self._with_lids_that_meet(worn)
        target = self._see(worn.vertices)
        moved = self._moved(worn, target)
        picture = self.pixels.copy()
        window = (slice(self.window.top, None), slice(self.window.left, None))
        new = self._coloured(worn, target, moved)
        picture[window][: new.shape[0], : new.shape[1]] = new
        mask = np.zeros(self.pixels.shape[:2], np.float32)
        face = target.interpolate(self.parts.face[:, None], self.triangles)[..., 0]
        soft = self._at_photo_size(_soft_edged(face, _SOFT_EDGE * self.window.size[0])[None])[0]
        mask[window][: new.shape[0], : new.shape[1]] = soft.numpy()
        return PortraitFrame(picture, mask, self._depth(worn))

    def landmarks(self, worn: Face, *, follow_outline: bool = False) -> Float[np.ndarray, "68 2"]:
        """iBUG's landmarks of what is worn, in pixels of the photo, where `draw` shows them.

        ``follow_outline`` lets those of the jaw slide to the outline, as a 2D detector sees them, on heads that know
        how.
        """
        head = worn.head
        points = head.embeddings["ibug68"].points(self._on_photo(worn))[:, :2]
        contours = getattr(head, "contours", {})
        if follow_outline and "ibug68" in contours:
            lines = contours["ibug68"]
            on_lines = lines.points(self._on_photo(worn))[..., :2]
            chosen = lines.outermost(on_lines, points.mean(0))
            points = points.clone()
            points[lines.landmark] = on_lines[torch.arange(len(chosen)), chosen]
        return points.numpy()

    def with_shutting_blinks(self, worn: Face) -> Face:
        """A Face whose blinks mean "so far shut" as one whose blinks shut the eyes of this photo so far."""
        columns = [worn.head.expression_names.index(n) for n in _BLINKS if n in worn.head.expression_names]
        if len(columns) < len(_BLINKS):
            return worn
        expressions = [worn.expression.clone() for _ in range(2)]
        for blink, expression in enumerate(expressions):
            expression[columns] = float(blink)
        open_, shut = (self._gap(replace(worn, expression=e).vertices) for e in expressions)
        whole = (open_ / (open_ - shut).clamp_min(1e-6)).clamp(0, _STRONGEST_BLINK)
        expression = worn.expression.clone()
        expression[columns] = worn.expression[columns] * whole
        return replace(worn, expression=expression)

    def clay_window(self, most_pixels: int) -> Window:
        """The part of the photo that holds the whole head, to be drawn with at most so many pixels."""
        on_photo = self.face.camera.project(self.face.vertices[None])[0]
        return Window.about(on_photo, (0.1, 0.1, 0.1, 0.1), self.pixels.shape[:2]).at_most(most_pixels)

    # ------------------------------------------------------------------ geometry

    def _on_photo(self, worn: Face) -> Float[Tensor, "V 3"]:
        """x, y in pixels of the photo, pulled onto its landmarks, and depth in mm."""
        seen = worn.camera.project_with_depth(worn.vertices[None])[0]
        return torch.cat([seen[:, :2] + self.shifts, seen[:, 2:]], 1)

    def project(self, vertices: Float[Tensor, "V 3"]) -> Float[Tensor, "V 3"]:
        """Head frame (mm) to x, y in the window's pixels and depth (mm), pulled onto the photo's landmarks."""
        seen = self._camera.project_with_depth((vertices + self.parts.teeth_drop[:, None] * _DOWN)[None])[0]
        return torch.cat([seen[:, :2] + self.shifts * self.window.scale, seen[:, 2:]], 1)

    def _see(self, vertices: Float[Tensor, "V 3"]) -> Sight:
        return see(self.project(vertices), self.triangles, self.parts.triangles, self.window, self._camera)

    def _depth(self, worn: Face) -> Float[np.ndarray, "H W"]:
        fragments = rasterize(
            self._on_photo(worn)[None], self.triangles, self.pixels.shape[:2], perspective=worn.camera.perspective
        )
        depth = torch.where(fragments.mask, fragments.depth, torch.nan)[0]
        if not worn.camera.perspective and bool(fragments.mask.any()):
            depth = depth - fragments.depth[fragments.mask].amin() + 1
        return depth.numpy()

    def _moved(self, worn: Face, target: Sight) -> _Moved:
        """Where in the window each pixel's colour is to be taken from."""
        facing = torch.stack([self.parts.loose.to(torch.float32), self._facing, facing_camera(worn)], 1)
        values = torch.cat([self._source.carrier(), facing], 1)
        at = target.interpolate(values, self.triangles)
        places = self._source.placed(at[..., :3])
        lids = close_lids(self._slits, Slits.of(self.face.head, target.vertices_px), self._centres, places[..., :2])
        skin = target.parts == Part.SKIN
        places = torch.cat([torch.where(skin[..., None], lids.places, places[..., :2]), places[..., 2:]], -1)
        motion = places[..., :2] - self._centres
        shown = self._source.shows(places, target.parts, self._slits) * target.covered
        # What the photo sees edge-on and we from in front would be a smear of few pixels, some of the background's.
        shown = shown * (1 - smoothstep(at[..., 5] / at[..., 4].clamp_min(_EDGE_ON), *_SMEARED))
        scale = self.window.scale
        resting = 1 - smoothstep(motion.norm(dim=-1), _RESTING * scale, _LEAVING * scale)
        # Teeth rest, too, while the lips before them part: what rests must have been seen there.
        resting = resting * (target.covered & (self._source.parts == target.parts))
        direct = torch.maximum(shown, resting) > 0.5
        # Eyes and mouths move by themselves; only skin drags its surroundings along.
        leads = (direct & (target.parts <= Part.LOWER_LIP)).float()
        field = fill_holes(motion.permute(2, 0, 1), leads).permute(1, 2, 0)
        distance = torch.from_numpy(np.asarray(distance_transform_edt(~target.covered.numpy()), np.float32))
        reach = 1 - smoothstep(distance, 0.0, _DRAGGED * max(self.window.size))
        dragged = torch.where(target.covered[..., None], field, field * reach[..., None]) * self._fade[..., None]
        loose = ~target.covered | (at[..., 3] > 0.5)
        smooth = torch.stack([amount * (skin & direct) for amount in lids.smooth])
        return _Moved(torch.where(direct[..., None], motion, dragged), direct | loose, smooth)

    # ------------------------------------------------------------------ colours

    def _coloured(self, worn: Face, target: Sight, moved: _Moved) -> UInt8[np.ndarray, "h w 3"]:
        """The window at the photo's resolution."""
        hidden = self._hidden.at(target, Slits.of(worn.head, target.vertices_px), self.triangles)
        share = _softened(moved.photographed.float(), self.window.scale)
        for amount, skin in zip(moved.smooth, self._lid_colours, strict=True):
            amount = _LID_SMOOTHING * _softened(amount, self.window.scale)
            hidden = torch.where(amount > 0, skin[:, None, None], hidden)
            share = torch.minimum(share, 1 - amount)
        motion = moved.motion.permute(2, 0, 1)
        shut = self._shut(worn, target)
        if self.window.scale < 1:
            motion, share, hidden, shut = (self._at_photo_size(x) for x in (motion, share, hidden, shut))
            window = Window(self.window.left, self.window.top, self.window.width, self.window.height, 1.0)
            places, pixels = window.centres() + motion.permute(1, 2, 0) / self.window.scale, self._photo.resized(window)
        else:
            places, pixels = self._centres + motion.permute(1, 2, 0), self._photo
        colour = (pixels.at(places) * share + hidden * (1 - share)) * (1 - (1 - _LASHES) * shut)
        length = motion.norm(dim=0, keepdim=True) / self.window.scale
        changed = torch.maximum(smoothstep(length, _STILL, _MOVED), torch.maximum(1 - share, shut))
        if self.window.scale >= 1:
            colour, changed = self._at_photo_size(colour), self._at_photo_size(changed)
        before = self._photo.in_window()
        after = before + (colour - before) * changed
        return (after.permute(1, 2, 0) * 255 + 0.5).clamp(0, 255).to(torch.uint8).numpy()

    def _shut(self, worn: Face, target: Sight) -> Float[Tensor, "1 h w"]:
        """How far each pixel of an eyeball lies between lids that are shut."""
        now, shut = self._aperture(worn.vertices), torch.zeros_like(target.fragments.depth)
        eyes = target.parts == Part.EYE
        if not bool(eyes.any()):
            return shut
        middle = self._lid_middles(worn.vertices)
        nearer = (self._centres[..., 0] - middle[0]).abs() < (self._centres[..., 0] - middle[1]).abs()
        for side, mine in ((0, nearer), (1, ~nearer)):
            amount = 1 - smoothstep(now[side] / self._apertures[side].clamp_min(1e-3), *_LIDS_SHUT)
            shut[0][eyes & mine] = amount
        return _softened(shut[0], self.window.scale)

    def _with_lids_that_meet(self, worn: Face) -> Face:
        """Blinks no stronger than closes the eye of this photo: an eye that is narrow already needs less of them."""
        columns = [worn.head.expression_names.index(n) for n in _BLINKS if n in worn.head.expression_names]
        if len(columns) < len(_BLINKS):
            return worn
        expression = worn.expression.clone()
        expression[columns] = 0
        open_, now = (self._gap(face.vertices) for face in (replace(worn, expression=expression), worn))
        closing = (open_ / (open_ - now).clamp_min(1e-6)).clamp(0, 1)
        expression[columns] = worn.expression[columns] * torch.where(now < 0, closing, 1.0)
        return replace(worn, expression=expression)

    def _lids(self, vertices: Float[Tensor, "V 3"]) -> tuple[Tensor, Tensor]:
        """Upper and lower lids' middles (2 sides, 2 px and depth) in the window."""
        points = self.face.head.embeddings["ibug68"].points(self.project(vertices))
        upper, lower = (torch.stack([points[list(pair)].mean(0) for pair in lid]) for lid in (_UPPER_LID, _LOWER_LID))
        return upper, lower

    def _aperture(self, vertices: Float[Tensor, "V 3"]) -> Float[Tensor, "2"]:
        return self._gap(vertices).clamp_min(0)

    def _gap(self, vertices: Float[Tensor, "V 3"]) -> Float[Tensor, "2"]:
        """Between the lids of the right and the left eye, window pixels; negative where they pass each other."""
        upper, lower = self._lids(vertices)
        return (lower - upper)[:, 1]

    def _lid_middles(self, vertices: Float[Tensor, "V 3"]) -> Float[Tensor, "2"]:
        upper, lower = self._lids(vertices)
        return (upper[:, 0] + lower[:, 0]) / 2

    def _skin_at(self, place: Float[Tensor, "2"]) -> Float[Tensor, "3"]:
        """The mean colour of a few pixels of the photo."""
        steps = torch.linspace(-2, 2, 5) * self.window.scale
        around = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
        return self._photo.at(place + around).mean((1, 2)) * _LID_SHADE

    def _at_photo_size(self, values: Float[Tensor, "C h w"]) -> Float[Tensor, "C H W"]:
        size = (self.window.height, self.window.width)
        if self.window.scale > 1:
            return functional.avg_pool2d(values[None], round(self.window.scale))[0]
        if self.window.scale < 1:
            enlarged = functional.interpolate(
                values[None], scale_factor=round(1 / self.window.scale), mode="bilinear", align_corners=False
            )
            return enlarged[0, :, : size[0], : size[1]]
        return values


@dataclass(frozen=True, eq=False)
class _Moved:
    """``motion`` to the place in the window whose colour a pixel takes; ``photographed`` whether the photo has it;
    ``smooth`` how far it is plain skin of the right and the left lid."""

    motion: Float[Tensor, "h w 2"]
    photographed: Bool[Tensor, "h w"]
    smooth: Float[Tensor, "2 h w"]


def _soft_edged(values: Float[Tensor, "h w"], width: float) -> Float[Tensor, "h w"]:
    """A mask whose hard edges rise over about ``width`` pixels inwards."""
    radius = max(1, round(width))
    around = functional.pad(values[None, None], (radius,) * 4)
    blurred = functional.avg_pool2d(around, (2 * radius + 1, 1), 1)
    blurred = functional.avg_pool2d(blurred, (1, 2 * radius + 1), 1)[0, 0]
    return torch.minimum(values, smoothstep(blurred, 0.5, 1.0))


def _softened(values: Float[Tensor, "h w"], scale: float) -> Float[Tensor, "1 h w"]:
    """Averaged over about a pixel of the photo to each side."""
    radius = max(1, round(scale))
    around = functional.pad(values[None, None], (radius,) * 4, mode="replicate")
    return functional.avg_pool2d(around, 2 * radius + 1, 1)[0]
