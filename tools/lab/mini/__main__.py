# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line: `python -m tools.lab.mini COMMAND`, see `--help`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from csd_blender.backend.mini.vocabulary import SHAPES

from ...paths import PACKAGE

WEIGHTS = PACKAGE / "backend" / "mini" / "weights"
LANGUAGE = PACKAGE / "backend" / "mini" / "language"
CONTROL = PACKAGE / "backend" / "mini" / "control"
ENCODER = PACKAGE / "backend" / "mini" / "encoder"
VIEWS = PACKAGE / "backend" / "mini" / "views"
PICTURE = PACKAGE / "backend" / "mini" / "picture"
JUDGE_WEIGHTS = Path(__file__).parent / "readers" / "judge_weights"


def _log(text: str) -> None:
    print(text, flush=True)


def _shared(args: argparse.Namespace) -> dict[str, Any]:
    """What the trainings of networks beside the bundled model have in common, for their Config."""
    return {
        "weights": args.weights, "out": args.out, "cache": args.cache, "seed": args.seed, "count": args.data_count,
        "steps": args.steps, "processes": args.processes, "device": args.device,
    }  # fmt: skip


def _train(args: argparse.Namespace) -> None:
    from .train import Config, train

    train(Config(
        out=args.out, cache=args.cache, seed=args.seed, data_count=args.data_count, vae_data=args.vae_data,
        vae_steps=args.vae_steps, unet_steps=args.unet_steps, hours=args.hours, device=args.device,
        resume=args.resume, processes=args.processes, front_share=args.front_share,
    ), _log)  # fmt: skip


def _export(args: argparse.Namespace) -> None:
    from .train import export

    _log(f"exported step {export(args.checkpoint, args.weights)} to {args.weights}")


def _samples(args: argparse.Namespace) -> None:
    from .samples import sample_sheet

    sample_sheet(args.weights, args.output, seed=args.seed, device=args.device)
    _log(f"wrote {args.output}")


def _judge_train(args: argparse.Namespace) -> None:
    from .readers.judge_train import train_judge

    scores = train_judge(
        args.cache, args.weights, seed=args.seed, count=args.data_count, steps=args.steps, rate=args.rate,
        device=args.device, processes=args.processes, start=args.start, log=_log,
    )  # fmt: skip
    _log(json.dumps(scores, indent=2))


def _judge(args: argparse.Namespace) -> None:
    from .samples import judged_accuracy

    report = judged_accuracy(args.weights, args.judge_weights, count=args.count, seed=args.seed, device=args.device)
    _log(json.dumps(report, indent=2))
    if args.output is not None:
        args.output.write_text(json.dumps(report, indent=2) + "\n")


def _card(args: argparse.Namespace) -> None:
    from .card import write_card
    from .readers.judge_train import held_out_accuracy

    scores = held_out_accuracy(args.judge_pictures)
    report = write_card(args.weights, args.checkpoint / "progress.jsonl", scores, args.count, args.seed)
    _log(json.dumps({"judge on rendered pictures": scores} | report, indent=2))


def _language_train(args: argparse.Namespace) -> None:
    from .readers.language import train_language

    report = train_language(
        args.weights, seed=args.seed, steps=args.steps, batch=args.batch, rate=args.rate, instances=args.instances,
        sentences=args.sentences, log=_log,
    )  # fmt: skip
    _log(json.dumps(report, indent=2))


def _pairs_train(args: argparse.Namespace) -> None:
    from .readers.pairs_train import train_pairs

    report = train_pairs(
        args.cache, args.weights, seed=args.seed, count=args.data_count, steps=args.steps, processes=args.processes,
        log=_log,
    )  # fmt: skip
    _log(json.dumps(report, indent=2))


def _control_train(args: argparse.Namespace) -> None:
    from .control.train import Config, train_control

    own = {name: getattr(args, name) for name in ("often", "builds", "soft", "near", "floor", "even", "start", "rate")}
    train_control(Config(**_shared(args), **own), _log)


def _control_export(args: argparse.Namespace) -> None:
    from .control.train import export, load_frozen

    step = export(args.checkpoint, load_frozen(args.weights).unet, args.output)
    _log(f"exported step {step} to {args.output}")


def _encoder_train(args: argparse.Namespace) -> None:
    from .encoder.train import Config, train_encoder

    train_encoder(Config(**_shared(args)), _log)


def _encoder_export(args: argparse.Namespace) -> None:
    from .encoder.train import export

    _log(f"exported step {export(args.checkpoint, args.output)} to {args.output}")


def _views_train(args: argparse.Namespace) -> None:
    from .views.train import Config, train_views

    own = {name: getattr(args, name) for name in ("control", "controlled", "fronts", "often", "start", "rate")}
    train_views(Config(**_shared(args), **own), _log)


def _views_export(args: argparse.Namespace) -> None:
    from .control.train import load_frozen
    from .views.train import export

    step = export(args.checkpoint, load_frozen(args.weights).unet, args.output)
    _log(f"exported step {step} to {args.output}")


def _picture_train(args: argparse.Namespace) -> None:
    from .picture.train import Config, train_picture

    train_picture(Config(**_shared(args)), _log)


def _picture_export(args: argparse.Namespace) -> None:
    from .control.train import load_frozen
    from .picture.train import export

    step = export(args.checkpoint, load_frozen(args.weights).unet, args.output)
    _log(f"exported step {step} to {args.output}")


def main(argv: list[str] | None = None) -> int:
    """Parses the arguments and runs one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.lab.mini", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    train = commands.add_parser("train", help="render pictures and train the mini model on them")
    train.add_argument("--out", type=Path, required=True, help="folder of checkpoints and progress.jsonl")
    train.add_argument("--cache", type=Path, required=True, help="folder of rendered pictures")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out")
    train.add_argument("--hours", type=float, help="time limit of the noise predictor's training")
    train.add_argument("--data-count", type=int, default=48000, help="number of pictures")
    train.add_argument("--vae-data", type=int, default=12000, help="pictures the autoencoder is trained on")
    train.add_argument("--vae-steps", type=int, default=3000)
    train.add_argument("--unet-steps", type=int, default=8000)
    train.add_argument("--front-share", type=float, default=0.0, help="share of batches from shapes with a front only")
    train.add_argument("--processes", type=int, default=2, help="processes that render")
    train.set_defaults(run=_train, seed=0)

    export = commands.add_parser("export", help="write checkpoints as a diffusers pipeline in half precision")
    export.add_argument("--checkpoint", type=Path, required=True, help="the --out folder of a training")
    export.add_argument("--weights", type=Path, default=WEIGHTS)
    export.set_defaults(run=_export)

    samples = commands.add_parser("samples", help="draw a sheet of samples")
    samples.add_argument("--weights", type=Path, default=WEIGHTS)
    samples.add_argument("--output", type=Path, required=True, help="PNG file")
    samples.set_defaults(run=_samples, seed=0)

    judge_train = commands.add_parser("judge-train", help="train the independent classifier of pictures")
    judge_train.add_argument("--cache", type=Path, required=True, help="folder of its own rendered pictures")
    judge_train.add_argument("--weights", type=Path, default=JUDGE_WEIGHTS)
    judge_train.add_argument("--data-count", type=int, default=33600)
    judge_train.add_argument("--steps", type=int, default=7000)
    judge_train.add_argument("--rate", type=float, default=4e-3, help="highest learning rate")
    judge_train.add_argument("--start", type=Path, metavar="FILE", help="a judge's weights to go on from")
    judge_train.add_argument("--processes", type=int, default=2)
    judge_train.set_defaults(run=_judge_train, seed=1001)

    judge = commands.add_parser("judge", help="sample prompts and report how often the judge agrees with them")
    judge.add_argument("--weights", type=Path, default=WEIGHTS)
    judge.add_argument("--judge-weights", type=Path, default=JUDGE_WEIGHTS)
    judge.add_argument("--count", type=int, default=500)
    judge.add_argument("--output", type=Path, help="JSON file for the report")
    judge.set_defaults(run=_judge, seed=0)

    card = commands.add_parser("card", help="measure an exported model and write its card")
    card.add_argument("--checkpoint", type=Path, required=True, help="the --out folder of the training")
    card.add_argument("--weights", type=Path, default=WEIGHTS)
    card.add_argument("--judge-pictures", type=Path, required=True, help="cache of the judge's pictures")
    card.add_argument("--count", type=int, default=500)
    card.set_defaults(run=_card, seed=0)

    control = commands.add_parser("control-train", help="train the ControlNet for depth and normals")
    control.add_argument("--out", type=Path, required=True, help="folder of the checkpoint and progress.jsonl")
    control.add_argument("--cache", type=Path, required=True, help="folder of its own rendered pictures")
    control.add_argument("--weights", type=Path, default=WEIGHTS, help="of the model that it belongs to")
    control.add_argument("--data-count", type=int, default=24000)
    control.add_argument("--steps", type=int, default=8000)
    control.add_argument("--rate", type=float, default=6e-4, help="highest learning rate")
    control.add_argument("--often", nargs="+", default=(), choices=SHAPES, metavar="SHAPE", help="of these more")
    control.add_argument("--builds", type=float, default=0.0, help="share of snowmen and houses of another build")
    control.add_argument(
        "--even", type=float, default=0.0, help="share of a picture as of which small painted things count in the loss"
    )
    control.add_argument("--soft", type=float, default=0.0, help="how far normals are rounded at most, of the radius")
    control.add_argument("--near", type=float, default=0.0, help="share of cameras as near as the shape lets them")
    control.add_argument(
        "--floor", type=float, default=0.0, help="least weight of a clean picture's error, at any noise"
    )
    control.add_argument("--start", type=Path, metavar="FOLDER", help="a net of this sort to go on from")
    control.add_argument("--processes", type=int, default=2)
    control.set_defaults(run=_control_train, seed=3)

    control_export = commands.add_parser("control-export", help="write the ControlNet in half precision")
    control_export.add_argument("--checkpoint", type=Path, required=True, help="the --out folder of its training")
    control_export.add_argument("--weights", type=Path, default=WEIGHTS)
    control_export.add_argument("--output", type=Path, default=CONTROL)
    control_export.set_defaults(run=_control_export)

    encoder = commands.add_parser("encoder-train", help="distil the model's encoder into a small one")
    encoder.add_argument("--out", type=Path, required=True, help="folder of targets, checkpoint and progress.jsonl")
    encoder.add_argument("--cache", type=Path, required=True, help="folder of pictures, those of control-train")
    encoder.add_argument("--weights", type=Path, default=WEIGHTS, help="of the model that it belongs to")
    encoder.add_argument("--data-count", type=int, default=4320, help="of pictures to learn from")
    encoder.add_argument("--steps", type=int, default=1500)
    encoder.add_argument("--processes", type=int, default=2, help="that render, and encode, the pictures")
    encoder.set_defaults(run=_encoder_train, seed=5)

    encoder_export = commands.add_parser("encoder-export", help="write the small encoder in half precision")
    encoder_export.add_argument("--checkpoint", type=Path, required=True, help="the --out folder of its training")
    encoder_export.add_argument("--output", type=Path, default=ENCODER)
    encoder_export.set_defaults(run=_encoder_export)

    views = commands.add_parser("views-train", help="teach the model to draw four views of a thing at once")
    views.add_argument("--out", type=Path, required=True, help="folder of the checkpoint and progress.jsonl")
    views.add_argument("--cache", type=Path, required=True, help="folder of its own rendered pictures")
    views.add_argument("--weights", type=Path, default=WEIGHTS, help="of the model that it begins as")
    views.add_argument("--control", type=Path, default=CONTROL, help="the ControlNet that is beside it")
    views.add_argument("--data-count", type=int, default=36000)
    views.add_argument("--steps", type=int, default=4000)
    views.add_argument("--rate", type=float, default=4e-4, help="highest learning rate")
    views.add_argument("--fronts", type=float, help="share of things with a front; the others evenly by their kind")
    views.add_argument("--often", nargs="+", default=(), choices=SHAPES, metavar="SHAPE", help="of these more")
    views.add_argument("--controlled", type=float, default=0.4, help="share of things that the ControlNet tells of")
    views.add_argument("--start", type=Path, metavar="FOLDER", help="a network of this sort to go on from")
    views.add_argument("--processes", type=int, default=2)
    views.set_defaults(run=_views_train, seed=6)

    views_export = commands.add_parser("views-export", help="write the multi-view network in half precision")
    views_export.add_argument("--checkpoint", type=Path, required=True, help="the --out folder of its training")
    views_export.add_argument("--weights", type=Path, default=WEIGHTS)
    views_export.add_argument("--output", type=Path, default=VIEWS / "unet")
    views_export.set_defaults(run=_views_export)

    picture = commands.add_parser("picture-train", help="teach a network to draw the other sides of a pictured thing")
    picture.add_argument("--out", type=Path, required=True, help="folder of the checkpoint and progress.jsonl")
    picture.add_argument("--cache", type=Path, required=True, help="folder of its own rendered pictures")
    picture.add_argument("--weights", type=Path, default=WEIGHTS, help="of the model whose latents it draws")
    picture.add_argument("--data-count", type=int, default=12000, help="things as they are shown")
    picture.add_argument("--steps", type=int, default=8000)
    picture.add_argument("--processes", type=int, default=2)
    picture.set_defaults(run=_picture_train, seed=8)

    picture_export = commands.add_parser("picture-export", help="write its networks in half precision")
    picture_export.add_argument("--checkpoint", type=Path, required=True, help="the --out folder of its training")
    picture_export.add_argument("--weights", type=Path, default=WEIGHTS)
    picture_export.add_argument("--output", type=Path, default=PICTURE)
    picture_export.set_defaults(run=_picture_export)

    language = commands.add_parser("language-train", help="train the masked language model for prompt debiasing")
    language.add_argument("--weights", type=Path, default=LANGUAGE)
    language.add_argument("--steps", type=int, default=1500)
    language.add_argument("--batch", type=int, default=64, help="sentences in a step")
    language.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    language.add_argument("--instances", type=int, default=16, help="of each figure that are looked at")
    language.add_argument("--sentences", type=int, default=30000)
    language.set_defaults(run=_language_train, seed=7)

    pairs = commands.add_parser("pairs-train", help="train the judge's head for pictures and prompts")
    pairs.add_argument("--cache", type=Path, required=True, help="folder of its own rendered pictures")
    pairs.add_argument("--weights", type=Path, default=JUDGE_WEIGHTS / "pairs.safetensors")
    pairs.add_argument("--data-count", type=int, default=5760)
    pairs.add_argument("--steps", type=int, default=2000)
    pairs.add_argument("--processes", type=int, default=2)
    pairs.set_defaults(run=_pairs_train, seed=2001)

    for sub in (train, card, samples, judge_train, judge, control, encoder, views, picture, language, pairs):
        sub.add_argument("--seed", type=int, default=sub.get_default("seed"))
        sub.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    args.run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
