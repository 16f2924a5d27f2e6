"""The Khronos validator finds nothing to say about our GLB files.

It is a package of npm: taken from the folder that LIKENESS_GLTF_VALIDATOR names (one with `node_modules` in it), else
installed into a temporary folder, else the test is skipped.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from glb_models import full_model

from likeness.files.glb import write_glb

PACKAGE = "gltf-validator@2.0.0-dev.3.10"

SCRIPT = """
const validator = require('gltf-validator');
const bytes = new Uint8Array(require('fs').readFileSync(process.argv[1]));
validator.validateBytes(bytes, {maxIssues: 20}).then(report => console.log(JSON.stringify(report)));
"""


@pytest.fixture(scope="session")
def validator_folder(tmp_path_factory):
    """A folder from which node finds the validator."""
    if (node := shutil.which("node")) is None:
        pytest.skip("node is not installed, so the Khronos validator cannot run")
    folder = Path(os.environ.get("LIKENESS_GLTF_VALIDATOR") or tmp_path_factory.mktemp("gltf-validator"))
    if not (folder / "node_modules" / "gltf-validator").is_dir():
        if "LIKENESS_GLTF_VALIDATOR" in os.environ:
            pytest.fail(f"LIKENESS_GLTF_VALIDATOR names {folder}, which holds no node_modules/gltf-validator")
        _install(folder)
    assert node
    return folder


def _install(folder):
    if (npm := shutil.which("npm")) is None:
        pytest.skip("npm is not installed, so the Khronos validator cannot be fetched")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
    try:
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not fetch the Khronos validator within a minute")
    if run.returncode != 0:
        pytest.skip(f"npm could not fetch the Khronos validator: {run.stderr.strip()[-200:]}")


def report(folder, path):
    run = subprocess.run(
        ["node", "-e", SCRIPT, str(path)], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(run.stdout)


@pytest.mark.parametrize(("n_rings", "n_morphs"), [(12, 52), (200, 2)], ids=["52 shapes", "32-bit indices"])
def test_full_model_has_no_errors_and_no_warnings(tmp_path, validator_folder, n_rings, n_morphs):
    path = tmp_path / "full.glb"
    write_glb(path, full_model(n_rings, n_morphs))
    found = report(validator_folder, path)
    # The payload is for readers who know it; the validator notes, as information, that glTF itself does not use it.
    remarks = [m for m in found["issues"]["messages"] if m["code"] != "UNUSED_OBJECT"]
    assert remarks == []
    assert found["info"]["hasMorphTargets"] and found["info"]["hasSkins"] and found["info"]["animationCount"] == 1


def test_an_animated_head_has_no_errors_and_no_warnings(tmp_path, validator_folder):
    from likeness.motion import Motion
    from open_rig import open_rig

    rng = np.random.default_rng(7)
    rig = open_rig()
    weights = rng.uniform(0, 1, (30, len(rig.blendshape_names))).astype(np.float32)
    turns = 0.3 * rng.normal(size=(30, 3, 3)).astype(np.float32)
    rig.save(tmp_path / "head.glb", motion=Motion(29.97, rig.blendshape_names, weights, turns[:, 0], turns[:, 1:]))
    found = report(validator_folder, tmp_path / "head.glb")
    assert [m for m in found["issues"]["messages"] if m["severity"] <= 1] == []
    assert found["info"]["animationCount"] == 1 and found["info"]["hasMorphTargets"]
