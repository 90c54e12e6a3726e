"""``csd text-to-3d``: an object from a prompt, in a shell."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from ...job.folder import COARSE_FILE, JobFolder, coarse_settings, read_coarse
from ...job.models.places import lasting_name
from ...job.presets.text_to_3d import text_to_3d_job
from ...job.presets.texture import QUALITIES
from ...job.spec.text_to_3d import RECIPES, SUBJECTS, TextTo3DJob
from .exit_codes import EXIT_USAGE
from .options import json_object, whole


def add_text_to_3d(commands: argparse._SubParsersAction) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("text-to-3d", help="make a textured object from a prompt")
    parser.add_argument("--prompt", help="what the object is")
    parser.add_argument("--negative", metavar="PROMPT", help="what it should not look like")
    parser.add_argument("--recipe", choices=RECIPES, default="csd", help="the published system to follow")
    parser.add_argument("--subject", choices=SUBJECTS, default="object", help="character: with a clear front")
    parser.add_argument("--method", choices=("csd", "sds"), help="the recipe's own when left out")
    parser.add_argument("--model", default="mini", metavar="mini|PATH|NAME")
    parser.add_argument("--coarse-model", metavar="PATH|NAME", help="another model for the coarse stage")
    parser.add_argument("--quality", choices=QUALITIES, default="normal")
    parser.add_argument("--coarse-steps", type=whole, help="overrides the quality preset")
    parser.add_argument("--refine-steps", type=whole, help="overrides the quality preset")
    parser.add_argument("--resolution", type=whole, default=1024, help="side of the texture in pixels, up to 4096")
    parser.add_argument("--max-faces", type=whole, help="of the finished mesh")
    parser.add_argument("--height", type=float, help="of the finished object in meters, 1 when left out")
    parser.add_argument("--keep", choices=("largest", "all"), help="which connected parts")
    parser.add_argument("--extra-words", metavar="WORDS", help="added to the prompt of pictures of the bare color")
    parser.add_argument("--seed", type=whole, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--rasterizer", choices=("auto", "warp", "torch", "nvdiffrast"), default="auto")
    parser.add_argument("--allow-noncommercial", action="store_true", help="permit nvdiffrast (non-commercial licence)")
    parser.add_argument("--settings", type=json_object, default={}, metavar="JSON", help="further fields of the job")
    parser.add_argument("--start", type=Path, metavar="MESH", help="begin with this mesh's shape")
    parser.add_argument("--refine-from", type=Path, metavar="DIR", help="refine the coarse stage of another job anew")
    parser.add_argument("--out", type=Path, metavar="DIR", help="new folder for the job, its stages/ and its result/")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with an interrupted job")
    parser.set_defaults(run=_text_to_3d)


def open_to_resume(path: Path, command: str) -> JobFolder | None:
    """The folder of a job that ``command`` makes; None, with a sentence on stderr, for a job of the other command.

    Raises ``JobError`` as :meth:`JobFolder.open` does.
    """
    folder = JobFolder.open(path)
    wanted, what = ("text-to-3d", "an object") if isinstance(folder.spec, TextTo3DJob) else ("texture", "a texture")
    if wanted == command:
        return folder
    line = f"csd {wanted} --resume {shlex.quote(str(path))}"
    print(f"Error: the job in this folder makes {what}; go on with it by: {line}", file=sys.stderr)
    return None


def _text_to_3d(arguments: argparse.Namespace) -> int:
    if arguments.resume is not None:
        folder = open_to_resume(arguments.resume, "text-to-3d")
        if folder is None:
            return EXIT_USAGE
        from .console import run_on_console  # brings torch, which is too slow for an answer to a mistake

        return run_on_console(folder, resume=True)
    missing = [f"--{name}" for name in ("prompt", "out") if not getattr(arguments, name)]
    if missing:
        print(f"Error: csd text-to-3d needs {', '.join(missing)} (or --resume DIR alone).", file=sys.stderr)
        return EXIT_USAGE
    if arguments.start is not None and arguments.refine_from is not None:
        print("Error: csd text-to-3d begins with either --start or --refine-from.", file=sys.stderr)
        return EXIT_USAGE
    overrides = _overrides(arguments)
    mesh, coarse = None, None
    if arguments.start is not None:
        from ..geometry.mesh_io import load_mesh

        mesh, overrides["start"] = load_mesh(arguments.start), "mesh"
    if arguments.refine_from is not None:
        source = JobFolder.open(arguments.refine_from)
        overrides = coarse_settings(source, arguments.prompt) | overrides
        coarse = read_coarse(source)
    job = text_to_3d_job(**overrides)
    names = {"model": job.model} | ({"coarse_model": job.coarse_model} if job.coarse_model else {})
    job = replace(job, **{part: lasting_name(name) for part, name in names.items()})
    folder = JobFolder.create(arguments.out, job)
    if mesh is not None:
        from ..geometry.mesh_io import save_npz

        save_npz(folder.mesh_path, mesh)
    if coarse is not None:
        folder.write_bytes(COARSE_FILE, coarse)
    from .console import run_on_console

    return run_on_console(folder, resume=False)


def _overrides(arguments: argparse.Namespace) -> dict:
    chosen = {
        "prompt": arguments.prompt,
        "quality": arguments.quality,
        "model": arguments.model,
        "recipe": arguments.recipe,
        "subject": arguments.subject,
        "negative_prompt": arguments.negative,
        "method": arguments.method,
        "coarse_model": arguments.coarse_model,
        "coarse_steps": arguments.coarse_steps,
        "refine_steps": arguments.refine_steps,
        "extra_words": arguments.extra_words,
        "texture_size": arguments.resolution,
        "max_faces": arguments.max_faces,
        "height": arguments.height,
        "keep": arguments.keep,
        "seed": arguments.seed,
        "device": arguments.device,
        "rasterizer": arguments.rasterizer,
        "allow_noncommercial": arguments.allow_noncommercial,
    }
    return {key: value for key, value in chosen.items() if value is not None} | arguments.settings
