"""The stages of jobs: their names in messages, what the artist reads, and about how long each takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A part of a job.

    Attributes:
        name: in messages. label: for the artist.
        long: whether it takes so long that the time left in it is worth showing.
    """

    name: str
    label: str
    long: bool = False


PREPARE = Stage("prepare", "Preparing the mesh")
LOAD = Stage("load", "Loading the model")
START = Stage("start", "Drawing all sides", long=True)
PAINT = Stage("paint", "Painting", long=True)
COARSE = Stage("coarse", "Finding the shape", long=True)
REFINE = Stage("refine", "Refining shape and colors", long=True)
BAKE = Stage("finish", "Baking the texture")
UNWRAP = Stage("finish", "Unwrapping and baking")
DEVELOP = Stage("finish", "Writing the pictures")

#: A job's stages in their order, each with its share of the job's time, about: only to let a bar move evenly.
Plan = tuple[tuple[Stage, float], ...]


def texture_plan(warm: bool = False) -> Plan:
    """``warm``: pictures of all sides are drawn first."""
    if warm:
        return (PREPARE, 0.02), (LOAD, 0.04), (START, 0.35), (PAINT, 0.55), (BAKE, 0.04)
    return (PREPARE, 0.02), (LOAD, 0.04), (PAINT, 0.9), (BAKE, 0.04)


def picture_plan() -> Plan:
    return (LOAD, 0.06), (PAINT, 0.88), (DEVELOP, 0.06)


def shape_plan() -> Plan:
    return (PREPARE, 0.02), (LOAD, 0.04), (REFINE, 0.84), (UNWRAP, 0.1)


def object_plan(coarse_steps: int, refine_steps: int, warm: bool = False) -> Plan:
    """The stages of an object, whose steps take about the same time in both of its stages; ``warm`` as above."""
    steps = 0.56 if warm else 0.86
    coarse = steps * coarse_steps / max(1, coarse_steps + refine_steps)
    start = ((START, 0.3),) if warm else ()
    return ((LOAD, 0.04), *start, (COARSE, coarse), (REFINE, steps - coarse), (UNWRAP, 0.1))
