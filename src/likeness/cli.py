"""`likeness …`: thin; every command is a few lines over the API. Heavy imports wait until a command runs."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

import click

import likeness
from likeness.errors import InputError, LikenessError

FORMATS = (
    "face", "glb", "obj", "ply", "maps", "detail", "landmarks", "parameters", "depth", "overview", "official",
    "turntable", "turntable.gif",
)  # fmt: skip
_DEFAULT_FORMATS = "face,glb,obj,maps,landmarks,parameters,depth,overview"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(likeness.__version__, prog_name="likeness")
@click.option("--traceback", is_flag=True, help="Show where in the program an error came from.")
@click.pass_context
def main(context: click.Context, traceback: bool) -> None:
    """From photographs and videos of a face to a riggable 3D likeness."""
    context.obj = {"traceback": traceback}


def _formats(_context, _parameter, value: str) -> tuple[str, ...]:
    chosen = tuple(name.strip().lower() for name in value.split(",") if name.strip())
    unknown = [name for name in chosen if name not in FORMATS]
    if unknown or not chosen:
        raise click.BadParameter(f"unknown format {', '.join(unknown) or '(none)'}; choose from {', '.join(FORMATS)}.")
    return chosen


def _method_options(**given) -> dict:
    """Only what the user asked for: each method has its own options, and says so when it lacks one."""
    return {name: value for name, value in given.items() if value}


_OUT = click.option(
    "-o", "--out", type=click.Path(path_type=Path), default="results", show_default=True, help="Folder."
)
_METHOD = click.option("--method", default="open", show_default=True, help="open, deca, deep3d, facescape or inorig.")
_DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
_COMPAT = click.option(
    "--compat", type=click.Choice(["official"]), default=None, help="Repeat the original implementation to the number."
)


@main.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@_OUT
@_METHOD
@click.option("--same-person", is_flag=True, help="All photos show one person: solve one identity from them together.")
@_DEVICE
@click.option(
    "--quality",
    type=click.Choice(["fast", "balanced", "best"]),
    default=None,
    help="open: landmarks only, with texture and wrinkles (default), or the same in maps of 2048².",
)
@_COMPAT
@click.option("--rig", is_flag=True, help="facescape: displacement maps of 20 key expressions from a neutral photo.")
@click.option(
    "--landmarks", type=click.Path(path_type=Path), default=None, help="Points of one photo (txt, pts, json, npy)."
)
@click.option("--max-faces", type=click.IntRange(1), default=None, help="At most so many faces a photo, largest first.")
@click.option(
    "--formats", callback=_formats, default=_DEFAULT_FORMATS, show_default=True, help="What to write, comma-separated."
)
@click.option("--turntable", is_flag=True, help="Also a film of the head turning: turntable.mp4.")
@click.pass_context
def reconstruct(
    context, photos, out, method, same_person, device, quality, compat, rig, landmarks, max_faces, formats, turntable
) -> None:
    """Make a riggable head of every face in PHOTOS (files, or folders of them)."""
    from likeness import runs

    _, failures = runs.reconstruct_photos(
        photos,
        out,
        method=method,
        same_person=same_person,
        device=device,
        max_faces=max_faces,
        landmarks=landmarks,
        options=_method_options(quality=quality, compat=compat, rig=rig),
        formats=(*formats, "turntable") if turntable else formats,
        report=lambda line: click.echo(line),
        complain=lambda error: _complain(context, error),
        progress=sys.stderr.isatty(),
    )
    if failures:
        context.exit(1)


@main.command()
@click.argument("face", type=click.Path(path_type=Path))
def info(face: Path) -> None:
    """Say what a FACE file holds."""
    from likeness.face import Face
    from likeness.summary import describe_face

    click.echo(describe_face(Face.load(face)))


@main.command()
@click.argument("faces", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=None, help="Folder; beside each FACE if not given."
)
@click.option("--formats", callback=_formats, default="glb,obj,ply", show_default=True, help="What to write.")
@click.pass_context
def export(context, faces, out, formats) -> None:
    """Write meshes and rigs of FACES (face.safetensors files) in other formats."""
    from likeness import runs

    failures = runs.export_faces(
        faces, out, formats=formats, report=lambda line: click.echo(line), complain=lambda e: _complain(context, e)
    )
    if failures:
        context.exit(1)


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("expressions", nargs=-1, required=True, type=click.Path(path_type=Path))
@_OUT
@_METHOD
@_DEVICE
@click.option(
    "--expression-method", default=None, help="Method for the photos of EXPRESSIONS, if it shall be another one."
)
@click.option("--formats", callback=_formats, default="face,obj,overview", show_default=True, help="What to write.")
@click.pass_context
def transfer(context, source, expressions, out, method, device, expression_method, formats) -> None:
    """Put the expressions of EXPRESSIONS on the largest face of SOURCE.

    EXPRESSIONS are photos, face.safetensors files, folders and videos; SOURCE is a photo, a face.safetensors file, or a
    folder of them.
    """
    from likeness.transfer_runs import transfer_expressions

    failures = transfer_expressions(
        source,
        expressions,
        out,
        method=method,
        expression_method=expression_method,
        device=device,
        formats=formats,
        report=lambda line: click.echo(line),
        complain=lambda error: _complain(context, error),
    )
    if failures:
        context.exit(1)


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("targets", nargs=-1, required=True, type=click.Path(path_type=Path))
@_OUT
@click.option("--method", default="open", show_default=True, help="open or deca.")
@_DEVICE
@_COMPAT
@click.option("--smooth", type=click.IntRange(0), default=None, help="Window in frames; 0 for none.")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Strength of the whole expression.")
@click.option("--upper-scale", type=float, default=1.0, show_default=True, help="Strength from the brows upwards.")
@click.option("--freeze-eyes/--move-eyes", default=None, help="Keep lids and gaze of the photo.")
@click.option("--pose", type=click.Choice(["source", "driver"]), default="source", show_default=True)
@click.option("--files", default=None, help="What to write of a frame, comma-separated; see the documentation.")
@click.option("--image-format", type=click.Choice(["png", "jpg", "webp"]), default="png", show_default=True)
@click.pass_context
def reenact(
    context,
    source,
    targets,
    out,
    method,
    device,
    compat,
    smooth,
    scale,
    upper_scale,
    freeze_eyes,
    pose,
    files,
    image_format,
) -> None:
    """Re-render the face of SOURCE (a photo, or a folder of them) with the expressions of TARGETS (photos, videos)."""
    from likeness import reenact_runs
    from likeness.reenactment.stages import choose_stage

    stage = choose_stage(
        method=method,
        compat=compat,
        device=device,
        smooth=smooth,
        scale=scale,
        upper_scale=upper_scale,
        freeze_eyes=freeze_eyes,
        pose=pose,
        files=files,
        image_format=image_format,
    )
    tally = reenact_runs.reenact(
        source,
        targets,
        out,
        stage=stage,
        manifest_inside=compat is None,
        report=lambda line: click.echo(line),
        complain=lambda error: _complain(context, error),
        progress=sys.stderr.isatty(),
    )
    if tally.failed or tally.sources_failed:
        context.exit(1)


@main.command()
@click.argument("video", type=click.Path(path_type=Path))
@click.option(
    "--rig", type=click.Path(path_type=Path), help="A Face of the person, on the open head or a personal rig (inorig)."
)
@click.option("--target", type=click.Path(path_type=Path), help="inorig: another such Face that wears the same motion.")
@_OUT
@_DEVICE
@click.option("--quality", default="balanced", show_default=True, help="open: how far the head itself is worked out.")
@click.option(
    "--overlay",
    type=click.Choice(["mesh", "clay", "none"]),
    default="mesh",
    show_default=True,
    help="open: film drawn.",
)
@click.option("--side-by-side", is_flag=True, help="open: the untouched film beside the overlay.")
@click.option(
    "--smoothing", type=click.FloatRange(0, 100), default=1.0, show_default=True, help="open: strength; 0 is none."
)
@click.option("--max-people", type=click.IntRange(1), help="open: follow at most so many, those most seen first.")
@click.option("--restart", is_flag=True, help="open: begin anew where a run was stopped.")
@_COMPAT
@click.option("--weights", type=click.Choice(["best", "robust"]), default="best", show_default=True, help="inorig's.")
def track(
    video, rig, target, out, device, quality, overlay, side_by_side, smoothing, max_people, restart, compat, weights
) -> None:
    """Follow everyone in VIDEO: a head for each person, their motion, and a film that shows it.

    A run that was stopped goes on where it was when the command is given again.
    """
    from likeness import track_runs

    if rig is not None and track_runs.is_personal(rig):
        from likeness.methods.inorig.method import InorigMethod

        method = InorigMethod(device=device, weights=weights, compat=compat or "default")
        track_runs.track_video(video, rig, out, method=method, target=target, report=lambda line: click.echo(line))
        return
    if target is not None or compat is not None:
        raise InputError("--target and --compat go with --rig FACE, a Face made with --method inorig.")
    options = track_runs.TrackingOptions(
        quality=quality,
        rig=rig,
        overlay=None if overlay == "none" else overlay,
        side_by_side=side_by_side,
        smoothing=smoothing,
        max_people=max_people,
        restart=restart,
        device=device,
    )
    with _progress_bar() as progress:
        track_runs.track_people(video, out, options, report=lambda line: click.echo(line), progress=progress)


@main.command()
@click.argument("face", type=click.Path(path_type=Path))
@click.option("--drive", required=True, help="A video, a photo, a motion file, a Face, or 0 for the first camera.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Its ending names the format.")
@click.option("--head-pose/--no-head-pose", default=True, show_default=True, help="Whether the head turns.")
@click.option("--strength", type=click.FloatRange(0, 10), default=1.0, show_default=True, help="Of the expression.")
@click.option("--eyes", type=click.Choice(["follow", "frozen", "camera"]), default="follow", show_default=True)
@click.option("--smoothing", type=click.FloatRange(0, 100), default=0.0, show_default=True, help="0 is none, 1 usual.")
@click.option("--fps", type=click.FloatRange(1, 1000), help="Another rate than the driver's.")
@click.option("--drive-fps", type=click.FloatRange(1, 1000), help="The rate of a motion file that does not tell.")
@click.option("--size", type=click.IntRange(16, 4096), default=512, show_default=True, help="Of the film, pixels.")
@click.option("--material", type=click.Choice(["auto", "clay", "albedo"]), default="auto", show_default=True)
@click.option("--yaw", type=float, default=0.0, show_default=True, help="Seen from so many degrees aside.")
@click.option("--detail/--no-detail", default=True, show_default=True, help="Whether relief follows the expression.")
@click.option("--side-by-side", is_flag=True, help="The driving video beside the film.")
@click.option("--seconds", type=click.FloatRange(0.1), help="How long a camera is followed; else until Ctrl-C.")
@_DEVICE
def animate(
    face, drive, out, head_pose, strength, eyes, smoothing, fps, drive_fps, size, material, yaw, detail, side_by_side,
    seconds, device,
) -> None:  # fmt: skip
    """Drive a saved FACE, and write a film (.mp4, .gif), a .glb, a motion file (.csv, .json, .safetensors) or, to a
    name without ending, a folder of OBJ files."""
    from likeness.animate.driving import DrivingOptions
    from likeness.animate_runs import AnimationOptions
    from likeness.animate_runs import animate as run_animation

    options = AnimationOptions(
        driving=DrivingOptions(head_pose=head_pose, strength=strength, eyes=eyes, smoothing=smoothing, fps=fps),
        size=size,
        material=material,
        yaw=yaw,
        detail=detail,
        side_by_side=side_by_side,
        fps=drive_fps,
        seconds=seconds,
        device=device,
    )
    with _progress_bar() as progress:
        run_animation(face, drive, out, options, report=lambda line: click.echo(line), progress=progress)


@contextmanager
def _progress_bar():
    """A bar on the terminal that follows (what, done, of how many); nothing where nobody looks."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from tqdm import tqdm

    with tqdm(unit="frame", mininterval=0.5) as bar:

        def show(what: str, done: int, total: int | None) -> None:
            if bar.desc != f"{what}: ":
                bar.reset(total)
                bar.set_description(what)
            bar.update(done - bar.n)

        yield show


@main.command()
@click.argument("photos", type=click.Path(path_type=Path))
@click.option("--stage", type=click.Choice(["pretrain", "coarse", "detail"]), required=True)
@click.option("-o", "--checkpoint", type=click.Path(path_type=Path), default="model.tar", show_default=True)
@click.option("--start", type=click.Path(path_type=Path), default=None, help="Checkpoint of an earlier stage.")
@click.option("--steps", type=click.IntRange(1), required=True)
@click.option("--people", type=click.IntRange(1), default=None, help="People a batch; by stage 64, 8, 6.")
@click.option("--photos-each", type=click.IntRange(1), default=None, help="Photos of each; by stage 1, 2, 3.")
@click.option("--identity", type=click.Path(path_type=Path), default=None, help="coarse: resnet50_ft_weight.pkl.")
@click.option("--vgg", type=click.Path(path_type=Path), default=None, help="detail: torchvision's vgg19-….pth.")
@click.option("--seed", type=int, default=0, show_default=True)
@_DEVICE
@_COMPAT
def train(photos, stage, checkpoint, start, steps, people, photos_each, identity, vgg, seed, device, compat) -> None:
    """Train a stage of DECA on PHOTOS: a folder a person, NAME.jpg with its 68 landmarks NAME.npy."""
    from likeness.methods.deca.training.runs import BATCHES, train_stage
    from likeness.methods.deca.training.trainer import Schedule

    usual = BATCHES[stage]
    train_stage(
        photos,
        stage,
        checkpoint,
        Schedule(steps=steps, people=people or usual[0], photos=photos_each or usual[1], seed=seed),
        start=start,
        identity=identity,
        vgg=vgg,
        compat=compat or "default",
        device=device,
        report=lambda line: click.echo(line),
    )


@main.group(invoke_without_command=True)
@click.option("--method", default=None, help="Only the files of one method.")
@click.pass_context
def assets(context, method) -> None:
    """List the official model files: which are here, which are missing, where to ask for them."""
    if context.invoked_subcommand is None:
        from likeness.assets import status_table

        click.echo(status_table(method))


@assets.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
def add(paths) -> None:
    """Recognise model files (or all in a folder) by name and content, and store them."""
    from likeness.assets import add as install

    for path in paths:
        for entry in install(path):
            click.echo(f"{entry.asset.name}: {entry.path}")


def _complain(context: click.Context, error: LikenessError) -> None:
    """One line for a person; the traceback only when asked for."""
    if context.find_root().obj["traceback"]:
        import traceback

        traceback.print_exception(error)
    click.echo(f"Error: {error}", err=True)


def run(arguments: list[str] | None = None) -> int:
    """The console command: every error of ours becomes one line and exit code 1."""
    try:
        return main.main(args=arguments, standalone_mode=False) or 0
    except LikenessError as error:
        if "--traceback" in (arguments or sys.argv):
            raise
        click.echo(f"Error: {error}", err=True)
        return 1
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("Stopped. What was finished is kept.", err=True)
        return 130


def entry_point() -> None:
    sys.exit(run())


if __name__ == "__main__":
    entry_point()
