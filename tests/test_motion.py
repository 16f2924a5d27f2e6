"""Motion and its formats: what goes out comes back, and what others leave in files is read or refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from likeness.animate.posing import eye_turns, whole_turns
from likeness.arkit import ARKIT_NAMES
from likeness.errors import FileFormatError, InputError
from likeness.files.motion_csv import HEADER, angles_of, rotvec_of, timecode
from likeness.motion import Motion
from open_rig import open_rig

# Single precision of angles up to a radian or two, and of what trigonometry makes of them.
ROUNDING = 3e-6


def motion(n=40, fps=25.0, seed=0, names=ARKIT_NAMES):
    rng = np.random.default_rng(seed)
    weights = rng.uniform(size=(n, len(names))).astype(np.float32) * (rng.uniform(size=(n, len(names))) < 0.5)
    turns = 0.4 * rng.normal(size=(n, 3, 3)).astype(np.float32)
    return Motion(fps, tuple(names), weights, turns[:, 0], turns[:, 1:])


def assert_same(a: Motion, b: Motion, atol=ROUNDING):
    assert a.fps == b.fps
    for name in ARKIT_NAMES:
        np.testing.assert_array_equal(a.weights[:, a.names.index(name)], b.weights[:, b.names.index(name)])
    assert_turns(a.head, b.head, atol)
    assert_turns(a.eyes, b.eyes, atol)


def assert_turns(a, b, atol):
    first, second = (Rotation.from_rotvec(x.reshape(-1, 3).astype(float)) for x in (a, b))
    assert (first * second.inv()).magnitude().max() < atol


@pytest.mark.parametrize("ending", ["csv", "json", "safetensors"])
@pytest.mark.parametrize("fps", [24, 25, 29.97003, 30, 59.94006, 60, 120])
def test_round_trip(tmp_path, ending, fps):
    given_motion = motion(n=150, fps=fps)
    path = tmp_path / f"motion.{ending}"
    given_motion.save(path)
    assert_same(given_motion, Motion.load(path))


def test_csv_to_glb_and_back_loses_nothing_but_rounding(tmp_path):
    motion(n=60).save(tmp_path / "a.csv")
    first = Motion.load(tmp_path / "a.csv")
    open_rig().save(tmp_path / "head.glb", motion=first)
    through = Motion.load(tmp_path / "head.glb")
    through.save(tmp_path / "b.csv")
    assert_same(first, Motion.load(tmp_path / "b.csv"))


def test_json_and_safetensors_keep_position_and_confidence(tmp_path):
    rng = np.random.default_rng(1)
    whole = replace(
        motion(n=5),
        position=rng.normal(0, 100, (5, 3)).astype(np.float32),
        confidence=rng.uniform(size=5).astype(np.float32),
    )
    for ending in ("json", "safetensors"):
        whole.save(tmp_path / f"m.{ending}")
        found = Motion.load(tmp_path / f"m.{ending}")
        np.testing.assert_allclose(found.position, whole.position, rtol=1e-6)
        np.testing.assert_array_equal(found.confidence, whole.confidence)


def test_csv_is_laid_out_as_the_app_does(tmp_path):
    rotation = np.array([[0.0, 0.25, 0.0]], np.float32)
    smile = Motion(30, ("mouthSmileLeft",), np.array([[0.5]], np.float32), rotation, np.zeros((1, 2, 3), np.float32))
    smile.save(tmp_path / "m.csv")
    header, row = (tmp_path / "m.csv").read_text().splitlines()
    assert header.startswith("Timecode,BlendShapeCount,EyeBlinkLeft,EyeLookDownLeft") and header.count(",") == 62
    assert header.endswith("TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,LeftEyePitch,LeftEyeRoll,"
                           "RightEyeYaw,RightEyePitch,RightEyeRoll")  # fmt: skip
    values = dict(zip(header.split(","), row.split(","), strict=True))
    assert values["Timecode"] == "00:00:00:00.000" and values["BlendShapeCount"] == "61"
    assert values["MouthSmileLeft"] == "0.5" and float(values["HeadYaw"]) == 0.25 and values["HeadPitch"] == "0"


def test_angles_have_the_signs_of_the_documentation():
    turns = np.array([[0, 0.3, 0], [0.2, 0, 0], [0, 0, 0.1]])
    np.testing.assert_allclose(angles_of(turns), [[0.3, 0, 0], [0, 0.2, 0], [0, 0, 0.1]], atol=1e-12)
    # Positive pitch looks down, positive yaw to the subject's left.
    looks = Rotation.from_rotvec(turns[:2]).apply([0, 0, 1])
    assert looks[0, 0] > 0 and looks[1, 1] < 0


@given(st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3))
def test_angles_invert(angles):
    np.testing.assert_allclose(angles_of(rotvec_of(np.array([angles]))), [angles], atol=1e-9)


@given(st.integers(0, 10**6), st.sampled_from([23.976024, 25.0, 29.97003, 60.0]))
def test_timecodes_tell_the_time(frame, fps):
    hours, minutes, rest = timecode(frame, fps).split(":", 2)
    seconds, part = rest.split(":")
    time = int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(part) / np.ceil(fps)
    assert int(minutes) < 60 and int(seconds) < 60 and float(part) < np.ceil(fps)
    assert abs(time - frame / fps) <= 0.001 / fps


def test_a_recording_of_the_app_is_read(tmp_path):
    """Time of day, 60 frames a second, an empty row while the app saw no face, columns in another order."""
    header = ["Timecode", "BlendShapeCount", *reversed(HEADER[2:])]
    lines = [",".join(header)]
    for k in range(150):
        second, frame = divmod(k + 28, 60)
        values = "" if k == 70 else "," + ",".join("0.25" for _ in HEADER[2:])
        lines.append(f"14:03:{52 + second}:{frame:02d}.207,{0 if k == 70 else 61}{values}")
    (tmp_path / "take.csv").write_text("\ufeff" + "\r\n".join(lines) + "\r\n")
    found = Motion.load(tmp_path / "take.csv")
    assert found.fps == 60 and len(found) == 150
    np.testing.assert_array_equal(found.weights[70], found.weights[69])
    np.testing.assert_allclose(angles_of(found.head), 0.25, atol=1e-6)


def test_a_clip_shorter_than_a_second_needs_its_rate(tmp_path):
    motion(n=10, fps=25).save(tmp_path / "m.csv")
    assert Motion.load(tmp_path / "m.csv").fps == 60
    assert Motion.load(tmp_path / "m.csv", fps=25).fps == 25


ROW = ",61," + ",".join("0" for _ in HEADER[2:])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a recording"),
        ("a,b\n1,2\n", "not a recording"),
        (",".join(HEADER) + "\n", "no frames"),
        (",".join(HEADER) + "\nnoon" + ROW, "no timecode"),
        (",".join(HEADER) + "\n00:00:00:00.000" + ROW[:-1] + "x", "no number"),
        (",".join(HEADER) + "\n00:00:00:00.000" + ROW[:-1] + "nan", "no number"),
        (",".join(HEADER) + "\n00:00:00:00.000" + ROW[:-1] + "1e30", "too large"),
        (",".join(HEADER) + "\n00:00:00:00.000" + ROW + ",0" * 5000, "more columns"),
        ('Timecode,"JawOpen\n' + "0" * 300_000, "CSV"),
    ],
)
def test_broken_csv_is_refused_in_plain_words(tmp_path, text, says):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(FileFormatError, match=says):
        Motion.load(tmp_path / "m.csv")


def test_binary_as_csv_is_refused(tmp_path):
    (tmp_path / "m.csv").write_bytes(bytes(range(256)) * 100)
    with pytest.raises(FileFormatError):
        Motion.load(tmp_path / "m.csv")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 9},
        {"fps": 0},
        {"fps": "x"},
        {"fps": True},
        {"frames": []},
        {"frames": [1]},
        {"frames": [{"blendShapes": {}}]},
        {"frames": [{"blendShapes": {"a": "x"}}]},
    ],
)
def test_broken_json_is_refused(tmp_path, change):
    motion(n=2).save(tmp_path / "m.json")
    root = json.loads((tmp_path / "m.json").read_text()) | change
    (tmp_path / "m.json").write_text(json.dumps(root))
    with pytest.raises(FileFormatError):
        Motion.load(tmp_path / "m.json")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_bytes_never_escape_as_other_errors(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    ending = data.draw(st.sampled_from(["csv", "json", "safetensors"]))
    path = folder / f"m.{ending}"
    motion(n=2).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        found = Motion.load(path)
    except FileFormatError:
        return
    assert np.isfinite(found.weights).all() and np.isfinite(found.head).all()


def test_a_mirrored_transform_is_refused(tmp_path):
    motion(n=1).save(tmp_path / "m.json")
    root = json.loads((tmp_path / "m.json").read_text())
    root["frames"][0]["transform"] = np.diag([-1.0, 1, 1, 1]).ravel().tolist()
    (tmp_path / "m.json").write_text(json.dumps(root))
    with pytest.raises(FileFormatError, match="no rotation"):
        Motion.load(tmp_path / "m.json")


def test_other_shapes_and_endings_are_refused(tmp_path):
    native = motion(names=("pc1", "pc2"))
    with pytest.raises(InputError, match="ARKit's 52"):
        native.save(tmp_path / "m.csv")
    for name in ("m.glb", "m.bvh", "m"):
        with pytest.raises(InputError):
            native.save(tmp_path / name)
        if name != "m.glb":
            with pytest.raises(InputError):
                Motion.load(tmp_path / name)
    with pytest.raises(InputError, match="no blendshape named pc1"):
        open_rig().save(tmp_path / "head.glb", motion=native)
    with pytest.raises(InputError, match=r"only a \.glb"):
        open_rig().save(tmp_path / "head.safetensors", motion=motion())
    assert not list(tmp_path.iterdir())


def test_a_glb_without_an_animation_is_refused(tmp_path):
    open_rig().save(tmp_path / "head.glb")
    with pytest.raises(FileFormatError, match="without an animation"):
        Motion.load(tmp_path / "head.glb")


def test_bones_do_not_repeat_what_shapes_do(tmp_path):
    from likeness.files.glb import read_glb

    rig = open_rig()
    weights = np.zeros((2, len(rig.blendshape_names)), np.float32)
    weights[1, rig.blendshape_names.index("eyeLookOutLeft")] = 0.8
    eyes = whole_turns(np.zeros((2, 2, 3)), weights, eye_turns(rig)).astype(np.float32)
    rig.save(
        tmp_path / "head.glb",
        motion=Motion(30, rig.blendshape_names, weights, np.zeros((2, 3), np.float32), eyes),
    )
    rotations = read_glb(tmp_path / "head.glb").animations[0].joint_rotations
    np.testing.assert_allclose(rotations["eyeLeft"], [[0, 0, 0, 1]] * 2, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"fps": 0.0},
        {"fps": float("nan")},
        {"weights": np.zeros((3, 2))},
        {"names": ("a",) * 52},
        {"head": np.zeros((40, 4))},
        {"confidence": np.zeros(3)},
    ],
)
def test_a_motion_of_wrong_shapes_is_refused(change):
    with pytest.raises(InputError):
        replace(motion(), **change)


def test_a_slice_is_a_motion():
    part = replace(motion(), confidence=np.linspace(0, 1, 40, dtype=np.float32))[10:20]
    assert len(part) == 10 and part.confidence[0] == np.linspace(0, 1, 40, dtype=np.float32)[10]
    assert part.named(0)["jawOpen"] == part.weights[0, ARKIT_NAMES.index("jawOpen")]
    with pytest.raises(InputError):
        part[3]
