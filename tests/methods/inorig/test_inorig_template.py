import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.methods.inorig.illumination import outward_normals
from likeness.methods.inorig.template import DEPTH_SHIFT, face_region, vertex_triangles
from likeness.methods.inorig.uv_layout import build_table, stretched_uv, uv_to_texels
from methods.inorig.recorded import error, golden, model, n_different, template


def test_integers_are_the_recorded_ones():
    file = golden("bfm")
    np.testing.assert_array_equal(model().triangles, file["tri"])
    np.testing.assert_array_equal(model().landmarks, file["kpt_ind"])
    np.testing.assert_array_equal(template().vertex_triangles, file["tri_idx"])
    assert n_different(template().face_region, "bfm", "face_region_mask") == 0


def test_chart():
    assert error(template().uv, "bfm", "uv_coords") < 1e-6


@pytest.mark.parametrize("size", [64, 128])
def test_tables(size):
    table = template().tables[size]
    corners = table.vertices[table.corners].numpy()
    file = golden("bfm")
    (key,) = (k for k in file if k.startswith(f"pixel_vert_idx_{size}"))
    step = int(key.split("__flat")[1]) if "__flat" in key else 1
    assert (corners.reshape(-1)[::step] != file[key].reshape(-1)).sum() <= 9  # three texels
    assert error(table.weights, "bfm", f"pixel_vert_weights_{size}") < 1e-6


def test_mean_normals_point_outward():
    """Recorded with the file's winding, whose normals point inward."""
    mean = torch.from_numpy(model().mean)[None]
    normals = outward_normals(mean, template().triangles, template().vertex_triangles)
    assert error(-normals, "bfm", "mean_normal") < 1e-6
    assert float((normals * template().mean).sum(-1).mean()) > 0


def test_mean_is_shifted_in_depth_and_nothing_is_added_to_it():
    shift = torch.from_numpy(model().mean) - template().mean
    assert torch.equal(shift, torch.tensor([0.0, 0.0, DEPTH_SHIFT]).expand_as(shift))


def test_region_follows_the_face_when_it_grows():
    grown = face_region(model().mean * np.float32(1.7), model().landmarks)
    np.testing.assert_array_equal(grown, template().face_region)


def test_gather_undoes_scatter_where_the_map_is_fine_enough():
    """A field that is linear in the chart survives vertex → texel → vertex, inside the map."""
    table = template().tables[128]
    field = template().uv[table.vertices][None]
    back = table.gather(table.scatter(field))[0]
    texels = uv_to_texels(template().uv.numpy(), 128)
    covered = table.scatter(torch.ones(1, len(table.vertices), 1))[0, 0].numpy() > 0.999
    low = np.clip(np.floor(texels).astype(int), 0, 126)
    x, y = low[:, 0], low[:, 1]
    inner = covered[y, x] & covered[y + 1, x] & covered[y, x + 1] & covered[y + 1, x + 1]
    inner &= ((texels > 3) & (texels < 124)).all(1)
    assert inner.sum() > 500
    # The chart bends within a triangle of the coarse mesh; texels see it straight.
    assert float((back - template().uv)[torch.from_numpy(inner)].abs().max()) < 2e-2


def test_scatter_is_the_plain_sum():
    table = template().tables[32]
    features = torch.randn(2, len(table.vertices), 5, generator=torch.Generator().manual_seed(0))
    naive = (features[:, table.corners] * table.weights[..., None]).sum(-2).mT.unflatten(-1, (32, 32))
    torch.testing.assert_close(table.scatter(features), naive, atol=1e-5, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 12), st.integers(0, 2**31))
def test_a_table_matches_the_triangle_by_triangle_rule(size, seed):
    """The plain twin of the rasteriser's table: triangles in order, the first that takes a texel keeps it."""
    rng = np.random.default_rng(seed)
    uv = rng.uniform(-0.1, 1.1, (9, 2))
    triangles = rng.permuted(np.tile(np.arange(9), (12, 1)), axis=1)[:, :3]
    corners = uv_to_texels(uv, size)[triangles].astype(np.float64)
    # Slivers' weights are ill-conditioned in the table's single precision.
    area = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1]))
    triangles = triangles[area > 1]
    table = build_table(uv, triangles, size)
    weights = _plain_table(uv_to_texels(uv, size), triangles, size)
    np.testing.assert_allclose(table.weights.numpy(), weights, atol=1e-3, rtol=1e-3)


def _plain_table(texels, triangles, size):
    weights = np.full((size, size, 3), np.nan)
    for p0, p1, p2 in texels[triangles].astype(np.float64):
        low = np.maximum(np.ceil(np.min([p0, p1, p2], 0)), 0).astype(int)
        high = np.minimum(np.floor(np.max([p0, p1, p2], 0)), size - 1).astype(int)
        solve = np.linalg.inv(np.stack([p1 - p0, p2 - p0], 1))
        for x in range(low[0], high[0] + 1):
            for y in range(low[1], high[1] + 1):
                b, c = solve @ (np.array([x, y]) - p0)
                border = min(x, y) < 2 or max(x, y) > size - 3
                if np.isnan(weights[y, x, 0]) and (border or (b >= 0 and c >= 0 and b + c < 1)):
                    weights[y, x] = 1 - b - c, b, c
    return np.nan_to_num(weights).reshape(-1, 3)


def test_triangles_about_a_vertex():
    table = vertex_triangles(np.array([[0, 1, 2], [2, 1, 3]]), 5)
    np.testing.assert_array_equal(table, [[0, 2], [0, 1], [0, 1], [1, 2], [2, 2]])


def test_the_chart_has_no_seam_where_its_two_halves_meet():
    u = np.linspace(0.1, 0.9, 33)
    below, above = (stretched_uv(np.stack([u, np.full_like(u, v)], 1)) for v in (0.555 - 1e-9, 0.555))
    np.testing.assert_allclose(below, above, atol=1e-7)
