"""Blender imports an animated head with its shape keys, its bones and its action.

Blender as a Python module (`pip install bpy`) exists for one version of Python each: the interpreter is the one that
LIKENESS_BLENDER_PYTHON names, else this one; without `bpy` the test is skipped. See docs/animation.md for the same by
hand.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from likeness.motion import Motion
from open_rig import open_rig

SCRIPT = """
import bpy, json, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.context.scene.render.fps = 25
bpy.ops.import_scene.gltf(filepath=sys.argv[1])
mesh = next(o for o in bpy.data.objects if o.type == "MESH" and o.data.shape_keys)
armature = next(o for o in bpy.data.objects if o.type == "ARMATURE")
keys = mesh.data.shape_keys.key_blocks
jaw, turns = [], []
for frame in range(0, 10):
    bpy.context.scene.frame_set(frame)
    jaw.append(keys["jawOpen"].value)
    turns.append(list(armature.pose.bones["neck"].rotation_quaternion))
print("FOUND" + json.dumps({
    "keys": [key.name for key in keys], "bones": [bone.name for bone in armature.pose.bones],
    "actions": [action.name for action in bpy.data.actions], "jaw": jaw, "turns": turns,
}))
"""


@pytest.fixture(scope="module")
def blender_python():
    python = os.environ.get("LIKENESS_BLENDER_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import bpy"], capture_output=True, timeout=120).returncode != 0:
        pytest.skip("bpy is not installed, so Blender cannot be asked")
    return python


@pytest.mark.slow
def test_blender_sees_shape_keys_bones_and_action(tmp_path, blender_python):
    rig = open_rig()
    weights = np.zeros((10, len(rig.blendshape_names)), np.float32)
    weights[:, rig.blendshape_names.index("jawOpen")] = np.linspace(0, 0.9, 10)
    head = np.zeros((10, 3), np.float32)
    head[:, 1] = np.linspace(0, 0.6, 10)
    rig.save(
        tmp_path / "head.glb",
        motion=Motion(25, rig.blendshape_names, weights, head, np.zeros((10, 2, 3), np.float32)),
    )
    run = subprocess.run(
        [blender_python, "-c", SCRIPT, str(tmp_path / "head.glb")], capture_output=True, text=True, timeout=300
    )
    found = json.loads(run.stdout.split("FOUND")[1])
    assert set(found["keys"]) == {"Basis", *rig.blendshape_names}
    assert set(found["bones"]) == set(rig.joint_names) and found["actions"] == ["motion"]
    np.testing.assert_allclose(found["jaw"], weights[:, rig.blendshape_names.index("jawOpen")], atol=1e-4)
    angles = 2 * np.arccos(np.clip(np.abs(np.array(found["turns"])[:, 0]), 0, 1))
    np.testing.assert_allclose(angles, head[:, 1], atol=1e-3)
