"""`likeness …`: thin; every command is a few lines over the API. Heavy imports wait until a command runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import likeness
from likeness.errors import LikenessError

FORMATS = (
    "face", "glb", "obj", "ply", "maps", "detail", "landmarks", "parameters", "depth", "overview", "official"
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
    "--quality", type=click.Choice(["fast", "balanced"]), default=None, help="open: landmarks only, or texture."
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
@click.pass_context
def reconstruct(
    context, photos, out, method, same_person, device, quality, compat, rig, landmarks, max_faces, formats
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
        formats=formats,
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
@click.option("--formats", callback=_formats, default="face,obj,overview", show_default=True, help="What to write.")
@click.pass_context
def transfer(context, source, expressions, out, method, device, formats) -> None:
    """Put the expressions of EXPRESSIONS (photos, folders, videos) on the largest face of SOURCE."""
    from likeness.transfer_runs import transfer_expressions

    failures = transfer_expressions(
        source,
        expressions,
        out,
        method=method,
        device=device,
        formats=formats,
        report=lambda line: click.echo(line),
        complain=lambda error: _complain(context, error),
    )
    if failures:
        context.exit(1)


@main.command()
@click.argument("video", type=click.Path(path_type=Path))
@click.option("--rig", required=True, type=click.Path(path_type=Path), help="A Face made with --method inorig.")
@click.option("--target", type=click.Path(path_type=Path), help="Another such Face that wears the same motion.")
@_OUT
@_DEVICE
@_COMPAT
@click.option("--weights", type=click.Choice(["best", "robust"]), default="best", show_default=True)
def track(video, rig, target, out, device, compat, weights) -> None:
    """Drive a person's rig by VIDEO: its motion, and clips that show it."""
    from likeness.methods.inorig.method import InorigMethod
    from likeness.track_runs import track_video

    method = InorigMethod(device=device, weights=weights, compat=compat or "default")
    track_video(video, rig, out, method=method, target=target, report=lambda line: click.echo(line))


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
