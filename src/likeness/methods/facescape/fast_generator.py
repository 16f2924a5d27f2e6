"""The generator on a processor, faster and to the same numbers.

Half of the plain network's time goes into the eighteen 3×3 convolutions of its residual blocks, the rest into memory
traffic. Here the former are done by Winograd's minimal filtering F(4×4, 3×3) (Lavin & Gray, CVPR 2016), with a
quarter of the multiplications; instance norm and ReLU run in place, plane by plane, while a plane is in the cache; the
upsampling half lies channels-last; and the last 7×7 convolution to one channel becomes seven 1×7 ones, whose rows are
added up. Each step is cut by channels into as many parts as there are threads, which meet once a step, and not,
as those of a tensor library, several times an operation: on a busy machine every meeting costs a time slice.

All in float32: the network amplifies rounding, so that bfloat16, though faster still on some processors, moves
displacements by more than a hundredth of a millimetre.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, pad

from likeness.methods.facescape.generator import DisplacementGenerator, ResidualBlock

_CACHE_BYTES = 1 << 20  # pieces of this size are worked on while they are in the cache
_TILE = 4
_EPSILON = 1e-5

# Winograd's matrices for F(4, 3) at the points 0, ±1, ±2, ∞.
_INPUT = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_FILTER = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)
_OUTPUT = torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
# Along both axes at once.
_INPUT_BOTH, _OUTPUT_BOTH = torch.kron(_INPUT, _INPUT), torch.kron(_OUTPUT, _OUTPUT)
_FILTER_BOTH = torch.kron(_FILTER, _FILTER).float()


Work = Callable[[slice], None]
Filter = Callable[[Tensor], Tensor]


class FastGenerator:
    """A `DisplacementGenerator` prepared for a processor.

    Takes four times the residual blocks' memory (2.7 GB) for their transformed filters. ``n_threads`` is torch's own
    number unless given.
    """

    def __init__(self, generator: DisplacementGenerator, *, n_threads: int | None = None) -> None:
        self.n_inputs = generator.n_inputs
        self._n_threads = n_threads or torch.get_num_threads()
        convolutions = [layer for layer in generator.model if isinstance(layer, nn.Conv2d)]
        self._first, *self._down, self._last = convolutions
        blocks = [layer for layer in generator.model if isinstance(layer, ResidualBlock)]
        with _team(self._n_threads) as team:
            self._blocks = list(team.pool.map(_Block.of, blocks))
        self._up = [layer for layer in generator.model if isinstance(layer, nn.ConvTranspose2d)]

    def __call__(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H2 W2"]:
        with torch.inference_mode(), _team(self._n_threads) as team:
            return torch.cat([self._one(image[None].float(), team) for image in x])

    def _one(self, x: Float[Tensor, "1 C H W"], team: Team) -> Float[Tensor, "1 1 H2 W2"]:
        x = _convolve(team, pad(x, (3, 3, 3, 3), mode="reflect"), self._first, padding=0, stride=1)
        for layer in self._down:
            x = _convolve(team, x, layer, padding=1, stride=2)
        for block in self._blocks:
            x = block(team, x)
        for layer in self._up:
            x = _upsample(team, x, layer)
        return _to_one_channel(team, pad(x, (3, 3, 3, 3), mode="reflect"), self._last).tanh()


@dataclass(frozen=True)
class Team:
    """Threads that each work alone: torch does not split their operations any further."""

    pool: ThreadPoolExecutor
    size: int

    def share(self, count: int, work: Work) -> None:
        """``work`` on contiguous slices of range(count), one a thread; returns when all are done."""
        bounds = [count * i // self.size for i in range(self.size + 1)]
        parts = [slice(low, high) for low, high in itertools.pairwise(bounds) if high > low]
        list(self.pool.map(lambda part: _quietly(work, part), parts))


def _quietly(work: Work, part: slice) -> None:
    # Inference mode belongs to a thread, not to the process.
    with torch.inference_mode():
        work(part)


@contextmanager
def _team(size: int) -> Iterator[Team]:
    before = torch.get_num_threads()
    try:
        # Each worker sets the number for itself; what threads made later find is put back at the end.
        with ThreadPoolExecutor(size, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield Team(pool, size)
    finally:
        torch.set_num_threads(before)


# ---------------------------------------------------------------------------------------------- down, up, out


def _convolve(team: Team, x: Tensor, layer: nn.Conv2d, *, padding: int, stride: int) -> Tensor:
    """Convolution, instance norm, ReLU. The bias is left out: the norm would take it away again."""
    height, width = ((n + 2 * padding - layer.weight.shape[2]) // stride + 1 for n in x.shape[2:])
    found = x.new_empty(1, len(layer.weight), height, width)

    def work(part: slice) -> None:
        found[:, part] = conv2d(x, layer.weight[part], stride=stride, padding=padding)
        normalise_(found[0, part], cut=True)

    team.share(len(layer.weight), work)
    return found


def _upsample(team: Team, x: Tensor, layer: nn.ConvTranspose2d) -> Tensor:
    """Transposed convolution, instance norm, ReLU."""
    n_channels = layer.weight.shape[1]
    x = x.contiguous(memory_format=torch.channels_last)
    found = x.new_empty(1, n_channels, 2 * x.shape[2], 2 * x.shape[3])

    def work(part: slice) -> None:
        weight = layer.weight[:, part].contiguous(memory_format=torch.channels_last)
        found[:, part] = conv_transpose2d(x, weight, stride=2, padding=1, output_padding=1)
        normalise_(found[0, part], cut=True)

    team.share(n_channels, work)
    return found


def _to_one_channel(team: Team, x: Tensor, layer: nn.Conv2d) -> Tensor:
    """Σ over the filter's rows of 1×n convolutions, each to its own channel: one alone leaves vector units idle."""
    filters = layer.weight[0].permute(1, 0, 2)[:, :, None].contiguous()
    n_rows = len(filters)
    found = x.new_empty(1, 1, x.shape[2] - n_rows + 1, x.shape[3] - n_rows + 1)

    def work(part: slice) -> None:
        rows = conv2d(x[:, :, part.start : part.stop + n_rows - 1], filters)
        target = found[:, :, part].zero_()
        for row in range(n_rows):
            target += rows[:, row : row + 1, row : row + target.shape[2]]
        if layer.bias is not None:
            target += layer.bias

    team.share(found.shape[2], work)
    return found


def normalise_(planes: Float[Tensor, "C H W"], *, cut: bool) -> None:
    """Instance norm (biased variance, no parameters) in place, and ReLU when ``cut``."""
    flat = planes.view(len(planes), -1)
    for piece in flat.split(max(1, _CACHE_BYTES // (4 * flat.shape[1]))):
        piece -= piece.mean(1, keepdim=True)
        # Not by a norm or a dot product: they add up plainly, and over a million numbers that shows.
        piece *= (piece.square().mean(1, keepdim=True) + _EPSILON).rsqrt()
        if cut:
            piece.relu_()


# ---------------------------------------------------------------------------------------------- residual blocks


@dataclass(frozen=True)
class _Block:
    """The two convolutions of a residual block by their transformed filters."""

    first: list[Filter]
    second: list[Filter]

    @classmethod
    @torch.no_grad()
    def of(cls, block: ResidualBlock) -> _Block:
        first, second = (layer for layer in block.conv_block if isinstance(layer, nn.Conv2d))
        return cls(winograd_filters(first.weight), winograd_filters(second.weight))

    def __call__(self, team: Team, x: Tensor) -> Tensor:
        inner = winograd_convolution(team, x, self.first, x.shape[1], cut=True)
        return winograd_convolution(team, inner, self.second, x.shape[1], cut=False).add_(x)


def winograd_filters(weight: Float[Tensor, "O I 3 3"]) -> list[Filter]:
    """The 36 transformed filters G w Gᵀ, each the 1×1 convolution of its frequency."""
    n_out, n_in = weight.shape[:2]
    # Taps first, so that each filter comes out in one piece of memory.
    filters = _FILTER_BOTH @ weight.detach().float().reshape(n_out * n_in, 9).T.contiguous()
    return [_prepared(one.reshape(n_out, n_in, 1, 1)) for one in filters]


def _prepared(weight: Float[Tensor, "O I 1 1"]) -> Filter:
    """A 1×1 convolution; its weights in the order oneDNN computes in, where torch has it: reordering them at each call
    takes as long as the products themselves.
    """
    weight = weight.contiguous()
    if not torch.backends.mkldnn.is_available():
        return lambda x: conv2d(x, weight)
    # `torch.utils.mkldnn` packs by the same two operators, but compiles a module for each of the 648 filters.
    packed = torch.ops.aten.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), [0, 0], [1, 1], [1, 1], 1)

    def convolve(x: Tensor) -> Tensor:
        return torch.ops.aten.mkldnn_convolution(x.to_mkldnn(), packed, None, [0, 0], [1, 1], [1, 1], 1).to_dense()

    return convolve


def winograd_convolution(
    team: Team, x: Float[Tensor, "1 I H W"], filters: list[Filter], n_out: int, *, cut: bool
) -> Float[Tensor, "1 O H W"]:
    """3×3 convolution with reflected borders, instance norm and, when ``cut``, ReLU.

    Tiles that reach beyond the picture are filled with zeros and cut off.
    """
    _, n_in, height, width = x.shape
    n_down, n_across = -(-height // _TILE), -(-width // _TILE)
    spectrum = x.new_empty(36, n_in, n_down, n_across)
    products = x.new_empty(36, n_out, n_down, n_across)
    found = x.new_empty(1, n_out, height, width)

    def to_frequencies(part: slice) -> None:
        bordered = pad(x[:, part], (1, 1, 1, 1), mode="reflect")
        bordered = pad(bordered, (0, n_across * _TILE - width, 0, n_down * _TILE - height))[0]
        plane, row = bordered.stride()[:2]
        tiles = bordered.as_strided((6, 6, len(bordered), n_down, n_across), (row, 1, plane, _TILE * row, _TILE))
        spectrum[:, part] = (_INPUT_BOTH @ tiles.reshape(36, -1)).view(36, len(bordered), n_down, n_across)

    def multiply(part: slice) -> None:
        for frequency in range(part.start, part.stop):
            products[frequency] = filters[frequency](spectrum[frequency][None])[0]

    def to_pixels(part: slice) -> None:
        mine = products[:, part]
        tiles = (_OUTPUT_BOTH @ mine.reshape(36, -1)).view(_TILE, _TILE, mine.shape[1], n_down, n_across)
        pixels = tiles.permute(2, 3, 0, 4, 1).reshape(-1, n_down * _TILE, n_across * _TILE)
        found[0, part] = pixels[:, :height, :width]
        normalise_(found[0, part], cut=cut)

    team.share(n_in, to_frequencies)
    team.share(36, multiply)
    team.share(n_out, to_pixels)
    return found
