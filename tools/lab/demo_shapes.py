"""The distance functions of the demo meshes: Z up, the front facing -Y, about two units tall, standing on z = -1."""

from __future__ import annotations

import numpy as np

from .implicit import (
    box,
    capsule,
    cone,
    cylinder,
    ellipsoid,
    length,
    mirrored,
    smooth_max,
    smooth_min,
    sphere,
    tilted,
    torus,
)


def critter(p: np.ndarray) -> np.ndarray:
    """A small sitting dragon: big head, round eyes, stubby horns, spiky back, belly, and a tail curling to its side."""
    q = mirrored(p)
    d = ellipsoid(p, [0, 0.08, -0.50], [0.42, 0.39, 0.45])
    d = smooth_min(d, ellipsoid(p, [0, -0.16, -0.54], [0.31, 0.27, 0.34]), 0.05)  # belly
    d = smooth_min(d, ellipsoid(p, [0, -0.06, 0.28], [0.56, 0.48, 0.45]), 0.14)  # head
    d = smooth_min(d, ellipsoid(q, [0.25, -0.28, 0.13], [0.22, 0.20, 0.17]), 0.10)  # cheeks
    d = smooth_min(d, ellipsoid(p, [0, -0.47, 0.13], [0.27, 0.20, 0.165]), 0.08)  # muzzle
    d = smooth_max(d, -ellipsoid(q, [0.085, -0.655, 0.19], [0.03, 0.05, 0.022]), 0.03)  # nostrils
    smile = np.abs(p[:, 2] - (0.075 + 0.70 * p[:, 0] ** 2)) - 0.016
    d = smooth_max(d, -smooth_max(smile, ellipsoid(p, [0, -0.60, 0.10], [0.26, 0.15, 0.2]), 0.02), 0.06)
    d = smooth_min(d, ellipsoid(q, [0.235, -0.385, 0.43], [0.165, 0.13, 0.175]), 0.03)  # eyes
    d = smooth_min(d, ellipsoid(q, [0.20, -0.50, 0.425], [0.08, 0.05, 0.095]), 0.015)  # pupils
    d = smooth_min(d, capsule(q, [0.27, 0.06, 0.62], [0.39, 0.16, 0.92], 0.11, 0.045), 0.05)  # horns
    ear = ellipsoid(tilted(q, [0.62, 0.0, 0.34], 1, 22), [0.62, 0.04, 0.34], [0.23, 0.07, 0.13])
    d = smooth_min(d, ear, 0.06)
    d = smooth_min(d, capsule(q, [0.36, -0.12, -0.30], [0.30, -0.42, -0.46], 0.12, 0.11), 0.07)  # arms
    d = smooth_min(d, ellipsoid(q, [0.38, 0.02, -0.72], [0.23, 0.28, 0.25]), 0.07)  # thighs
    d = smooth_min(d, ellipsoid(q, [0.35, -0.34, -0.87], [0.175, 0.27, 0.14]), 0.06)  # feet
    for toe in (-0.11, 0.0, 0.11):
        d = smooth_min(d, sphere(q, [0.35 + toe, -0.56, -0.90], 0.08), 0.04)
    t = np.linspace(0, 1, 9)
    tail = np.stack([0.72 * np.sin(2.2 * t), 0.40 + 0.40 * np.sin(2.7 * t) - 0.45 * t, -0.80 + 0.12 * t**2], axis=1)
    for i in range(8):
        d = smooth_min(d, capsule(p, tail[i], tail[i + 1], 0.18 - 0.013 * i, 0.167 - 0.013 * i), 0.07)
    d = smooth_min(d, ellipsoid(p, tail[-1] + [0.0, -0.04, 0.06], [0.06, 0.13, 0.15]), 0.05)
    back = ((0.66, 0.24, 0.13), (0.40, 0.42, 0.14), (0.08, 0.42, 0.12), (-0.22, 0.46, 0.13), (-0.52, 0.47, 0.12))
    for z, y, size in back:  # spikes, flat from side to side
        spike = capsule(p * [1.7, 1, 1], [0, y - 0.04, z], [0, y + 0.15, z + 0.11], size, 0.05) / 1.35
        d = smooth_min(d, spike, 0.05)
    return smooth_max(d, -1.0 - p[:, 2], 0.03)


def robot_head(p: np.ndarray) -> np.ndarray:
    """A friendly robot's head on a neck: ringed eyes, grille, ear drums and an antenna."""
    q = mirrored(p)
    d = box(p, [0, 0, 0.08], [0.66, 0.56, 0.56], 0.20)
    d = smooth_max(d, -box(p, [0, -0.62, 0.20], [0.52, 0.12, 0.24], 0.10), 0.03)  # visor
    d = smooth_min(d, cylinder(q, [0.25, -0.50, 0.20], 1, 0.185, 0.09, 0.03), 0.02)
    d = smooth_max(d, -cylinder(q, [0.25, -0.60, 0.20], 1, 0.125, 0.06, 0.02), 0.02)
    d = smooth_min(d, sphere(q, [0.25, -0.50, 0.20], 0.10), 0.01)
    d = smooth_max(d, -box(p, [0, -0.58, -0.22], [0.33, 0.07, 0.105], 0.05), 0.02)  # mouth
    for x in (0.0, 0.11, 0.22):
        d = smooth_min(d, capsule(q, [x, -0.535, -0.31], [x, -0.535, -0.13], 0.026), 0.01)
    d = smooth_min(d, cylinder(q, [0.70, 0.0, 0.10], 0, 0.23, 0.09, 0.04), 0.02)  # ears
    d = smooth_min(d, cylinder(q, [0.80, 0.0, 0.10], 0, 0.12, 0.07, 0.03), 0.02)
    d = smooth_min(d, cylinder(p, [0, 0, 0.66], 2, 0.17, 0.06, 0.03), 0.02)
    d = smooth_min(d, capsule(p, [0, 0, 0.6], [0, 0, 0.9], 0.04), 0.04)
    d = smooth_min(d, sphere(p, [0, 0, 0.93], 0.10), 0.02)
    d = smooth_min(d, cylinder(p, [0, 0.03, -0.62], 2, 0.30, 0.20, 0.03), 0.03)  # neck
    for z in (-0.52, -0.61, -0.70):
        d = smooth_min(d, torus(p, [0, 0.03, z], 2, 0.30, 0.04), 0.01)
    collar = cylinder(p, [0, 0.03, -0.87], 2, 0.52, 0.12, 0.06)
    d = smooth_min(d, collar, 0.05)
    for x, z in ((0.48, 0.47), (0.48, -0.30)):
        d = smooth_min(d, sphere(q, [x, -0.53, z], 0.045), 0.01)  # rivets
    return d


def house(p: np.ndarray) -> np.ndarray:
    """A cottage: door and windows in front, gable roof, chimney, doorstep."""
    q = mirrored(p)
    d = box(p, [0, 0, -0.48], [0.66, 0.60, 0.52], 0.03)
    d = np.minimum(d, box(p, [0, 0, -0.96], [0.74, 0.68, 0.05], 0.02))
    gable = np.maximum((q[:, 0] * 0.66 + (p[:, 2] - 0.62) * 0.75), np.abs(p[:, 1]) - 0.60)
    d = np.minimum(d, np.maximum(gable, -0.1 - p[:, 2]))
    slab = (q[:, 0] * 0.66 + (p[:, 2] - 0.68) * 0.75) / np.hypot(0.66, 0.75)
    roof = np.maximum(np.maximum(slab, -slab - 0.11), np.abs(p[:, 1]) - 0.72)
    roof = smooth_max(roof, q[:, 0] - 0.86, 0.02)
    d = smooth_min(d, smooth_max(roof, -0.22 - p[:, 2], 0.02), 0.02)
    d = smooth_min(d, box(p, [0.38, 0.22, 0.55], [0.11, 0.11, 0.36], 0.02), 0.02)  # chimney
    d = np.minimum(d, box(p, [0.38, 0.22, 0.90], [0.145, 0.145, 0.05], 0.02))
    d = smooth_max(d, -box(p, [0, -0.62, -0.60], [0.155, 0.06, 0.31], 0.02), 0.015)  # door
    d = smooth_min(d, sphere(p, [0.09, -0.575, -0.60], 0.028), 0.01)
    for sign in (1.0, -1.0):
        frame = q.copy()
        frame[:, 1] *= sign
        d = smooth_max(d, -box(frame, [0.40, -0.62, -0.43], [0.145, 0.06, 0.17], 0.01), 0.015)  # windows
        d = np.minimum(d, box(frame, [0.40, -0.585, -0.43], [0.145, 0.015, 0.016], 0.005))
        d = np.minimum(d, box(frame, [0.40, -0.585, -0.43], [0.016, 0.015, 0.17], 0.005))
        d = np.minimum(d, box(frame, [0.40, -0.62, -0.62], [0.18, 0.05, 0.025], 0.01))
    attic = cylinder(p, [0, -0.60, 0.14], 1, 0.13, 0.06, 0.01)
    d = smooth_max(d, -attic, 0.015)
    return np.minimum(d, box(p, [0, -0.76, -0.95], [0.26, 0.16, 0.06], 0.02))


def snowman(p: np.ndarray) -> np.ndarray:
    """Three balls, a carrot nose, hat, scarf, buttons and arms."""
    q = mirrored(p)
    d = ellipsoid(p, [0, 0, -0.60], [0.50, 0.50, 0.43])
    d = smooth_min(d, sphere(p, [0, 0, 0.02], 0.36), 0.05)
    d = smooth_min(d, sphere(p, [0, 0, 0.48], 0.27), 0.03)
    d = smooth_min(d, torus(p, [0, 0, 0.27], 2, 0.24, 0.065), 0.02)  # scarf
    d = smooth_min(d, capsule(p, [0.15, -0.24, 0.24], [0.20, -0.37, -0.08], 0.062), 0.03)
    d = np.minimum(d, capsule(p, [0, -0.24, 0.47], [0, -0.54, 0.44], 0.062, 0.012))  # nose
    d = np.minimum(d, sphere(q, [0.10, -0.225, 0.57], 0.042))
    for x, z in ((0.0, 0.335), (0.06, 0.347), (0.115, 0.372)):
        d = smooth_min(d, sphere(q, [x, -0.243 + 0.3 * x * x, z], 0.024), 0.008)  # smile
    for z, y in ((0.14, -0.345), (0.0, -0.365), (-0.14, -0.335)):
        d = np.minimum(d, sphere(p, [0, y, z], 0.045))
    d = np.minimum(d, cylinder(p, [0, 0, 0.70], 2, 0.31, 0.045, 0.03))  # hat
    d = smooth_min(d, cylinder(p, [0, 0, 0.83], 2, 0.20, 0.16, 0.03), 0.02)
    d = smooth_min(d, capsule(q, [0.30, 0, 0.08], [0.72, -0.06, 0.30], 0.038, 0.028), 0.02)  # arms
    d = smooth_min(d, capsule(q, [0.60, -0.04, 0.235], [0.68, -0.14, 0.36], 0.025, 0.02), 0.01)
    d = smooth_min(d, capsule(q, [0.60, -0.04, 0.235], [0.74, -0.08, 0.18], 0.025, 0.02), 0.01)
    return smooth_max(d, -0.98 - p[:, 2], 0.03)


def car(p: np.ndarray) -> np.ndarray:
    """A small round car, its front with lamps and grille facing -Y."""
    q = mirrored(p)
    side = q.copy()
    side[:, 1] = np.abs(side[:, 1])
    d = box(p, [0, 0, -0.28], [0.47, 0.96, 0.22], 0.15)
    d = smooth_min(d, ellipsoid(p, [0, -0.60, -0.16], [0.42, 0.34, 0.16]), 0.08)  # hood
    cabin = box(p, [0, 0.14, 0.06], [0.41, 0.56, 0.30], 0.20)
    cabin = smooth_max(cabin, -(p[:, 1] + 0.42) * 0.86 + (p[:, 2] - 0.08) * 0.5, 0.10)
    d = smooth_min(d, cabin, 0.08)
    panes = np.abs(np.abs(p[:, 1] - 0.14) - 0.22) - 0.17
    glass = smooth_max(box(q, [0.42, 0.16, 0.12], [0.04, 0.40, 0.13], 0.03), panes, 0.03)
    d = smooth_max(d, -glass, 0.02)
    d = smooth_max(d, -cylinder(side, [0.47, 0.57, -0.44], 0, 0.25, 0.16, 0.03), 0.04)  # arches
    d = np.minimum(d, cylinder(side, [0.42, 0.57, -0.46], 0, 0.21, 0.09, 0.045))  # wheels
    d = smooth_max(d, -cylinder(side, [0.53, 0.57, -0.46], 0, 0.115, 0.04, 0.015), 0.02)
    d = smooth_min(d, sphere(side, [0.47, 0.57, -0.46], 0.05), 0.02)
    d = smooth_min(d, ellipsoid(q, [0.29, -0.88, -0.16], [0.105, 0.10, 0.105]), 0.02)  # lamps
    d = smooth_max(d, -box(p, [0, -0.98, -0.27], [0.20, 0.05, 0.06], 0.03), 0.02)  # grille
    d = smooth_min(d, capsule(q, [0.0, -0.97, -0.41], [0.40, -0.92, -0.41], 0.05), 0.02)  # bumpers
    d = smooth_min(d, capsule(q, [0.0, 0.97, -0.41], [0.40, 0.92, -0.41], 0.05), 0.02)
    return smooth_min(d, ellipsoid(q, [0.48, -0.30, 0.02], [0.07, 0.04, 0.05]), 0.03)


def rocket(p: np.ndarray) -> np.ndarray:
    """A plump rocket with four fins, portholes in front, nozzle."""
    z = p[:, 2]
    radial = length(p[:, :2])
    t = np.clip((z + 0.70) / 1.65, 0, 1)
    hull = 0.385 * np.sqrt(np.maximum(1 - t**2.4, 0)) * (0.80 + 0.20 * np.sin(np.pi * np.clip(t * 1.15, 0, 1)))
    d = np.maximum((radial - hull) * 0.72, np.maximum(-0.70 - z, z - 0.95))
    d = smooth_min(d, torus(p, [0, 0, -0.68], 2, 0.29, 0.045), 0.03)
    d = smooth_min(d, cone(p, [0, 0, -0.92], [0, 0, -0.68], 0.25, 0.16), 0.03)
    d = smooth_max(d, -cone(p, [0, 0, -0.98], [0, 0, -0.75], 0.22, 0.10), 0.02)
    q = np.abs(p)
    for a, b in ((0, 1), (1, 0)):
        out, across = q[:, a], q[:, b]
        fin = np.maximum(out + 0.55 * np.abs(z + 0.62) ** 1.0 - 0.62, across - 0.045)
        fin = np.maximum(fin * 0.85, np.maximum(-0.98 - z, z + 0.18))
        foot = np.stack([out, across, z], axis=1)
        fin = smooth_min(fin, capsule(foot, [0.50, 0, -0.62], [0.60, 0, -0.95], 0.055, 0.05), 0.05)
        d = smooth_min(d, fin, 0.05)
    for height, size in ((0.36, 0.135), (0.0, 0.10)):
        y = -0.335 if height else -0.375
        d = smooth_min(d, torus(p, [0, y, height], 1, size, 0.035), 0.015)
        d = smooth_max(d, -cylinder(p, [0, y - 0.03, height], 1, size - 0.02, 0.04, 0.01), 0.015)
    return smooth_min(d, sphere(p, [0, 0, 0.94], 0.055), 0.04)


def mushroom(p: np.ndarray) -> np.ndarray:
    """A toadstool with warts, gills and a skirt; two little ones at its foot."""

    def one(x: float, y: float, size: float, spots: int) -> np.ndarray:
        q = (p - [x, y, -1.0]) / size
        d = capsule(q, [0, 0, 0.05], [0.03, 0, 1.0], 0.27, 0.18)
        cap = ellipsoid(q, [0.03, 0, 1.10], [0.82, 0.82, 0.66])
        cap = smooth_max(cap, 1.12 - 0.10 * length(q[:, :2]) - q[:, 2], 0.10)
        radial, angle = length(q[:, :2] - [0.03, 0]), np.arctan2(q[:, 1], q[:, 0])
        under = ellipsoid(q, [0.03, 0, 1.02], [0.66, 0.66, 0.20]) + 0.012 * np.cos(36 * angle) * np.clip(radial, 0, 0.5)
        cap = smooth_max(cap, -under, 0.05)
        d = smooth_min(d, cap, 0.08)
        ring = np.maximum(np.abs(radial - 0.21 - 0.5 * (0.82 - q[:, 2])) - 0.03, np.abs(q[:, 2] - 0.76) - 0.09)
        d = smooth_min(d, ring, 0.05)
        for i in range(spots):
            azimuth, tilt = 2.4 * i + 0.7, 0.25 + 1.15 * i / spots
            around, up = 0.82 * np.sin(tilt), 1.10 + 0.66 * np.cos(tilt)
            center = [0.03 + around * np.cos(azimuth), around * np.sin(azimuth), up]
            d = smooth_min(d, ellipsoid(q, center, [0.12, 0.12, 0.07]), 0.04)
        return d * size

    d = smooth_min(one(0.0, 0.1, 1.08, 10), one(-0.50, -0.38, 0.46, 5), 0.05)
    d = smooth_min(d, one(0.46, -0.45, 0.34, 4), 0.05)
    d = smooth_min(d, ellipsoid(p, [0, 0, -1.02], [0.86, 0.76, 0.14]), 0.10)
    return smooth_max(d, -1.05 - p[:, 2], 0.03)


def teapot(p: np.ndarray) -> np.ndarray:
    """A round teapot, its spout to the right."""
    d = ellipsoid(p, [0, 0, -0.12], [0.62, 0.62, 0.50])
    d = smooth_min(d, cylinder(p, [0, 0, -0.58], 2, 0.38, 0.06, 0.03), 0.08)
    d = smooth_min(d, torus(p, [0, 0, 0.27], 2, 0.38, 0.045), 0.04)
    d = smooth_min(d, ellipsoid(p, [0, 0, 0.27], [0.38, 0.38, 0.19]), 0.02)  # lid
    d = smooth_min(d, capsule(p, [0, 0, 0.45], [0, 0, 0.54], 0.05, 0.045), 0.04)
    d = smooth_min(d, sphere(p, [0, 0, 0.58], 0.095), 0.03)
    bends = np.array([[0.48, 0, -0.28], [0.74, 0, -0.16], [0.86, 0, 0.08], [1.02, 0, 0.28]])
    widths = (0.17, 0.125, 0.095, 0.085)
    for i in range(3):
        d = smooth_min(d, capsule(p, bends[i], bends[i + 1], widths[i], widths[i + 1]), 0.08)
    d = smooth_max(d, -capsule(p, bends[2], [1.10, 0, 0.38], 0.035, 0.065), 0.02)
    q = p - [-0.62, 0, -0.06]
    ring = np.hypot(length(q[:, [0, 2]] / [1.0, 1.12]) - 0.30, q[:, 1] * 0.85) - 0.062
    return smooth_min(d, np.maximum(ring, p[:, 0] + 0.45), 0.06)


def rock(p: np.ndarray) -> np.ndarray:
    """A boulder: planes chipped off a ball, with bumps of several sizes."""
    random = np.random.default_rng(7)
    d = ellipsoid(p, [0, 0, -0.15], [0.95, 0.80, 0.80])
    for _ in range(16):
        normal = random.normal(size=3)
        normal /= np.linalg.norm(normal)
        d = smooth_max(d, (p - [0, 0, -0.15]) @ normal - random.uniform(0.60, 0.80), 0.05)
    for scale, amount in ((3.0, 0.045), (7.0, 0.018), (15.0, 0.007)):
        for _ in range(4):
            direction = random.normal(size=3) * scale
            d = d + amount * 0.5 * np.sin(p @ direction + random.uniform(0, 6.28))
    return smooth_max(d * 0.85, -0.85 - p[:, 2], 0.05)


def chair(p: np.ndarray) -> np.ndarray:
    """A wooden chair with a slatted back, its seat open to the front."""
    q = mirrored(p)
    d = box(p, [0, -0.02, -0.12], [0.52, 0.50, 0.065], 0.05)
    d = smooth_min(d, capsule(q, [0.42, -0.40, -0.14], [0.47, -0.46, -0.97], 0.075, 0.05), 0.03)
    d = smooth_min(d, capsule(q, [0.42, 0.40, -0.14], [0.46, 0.50, -0.97], 0.075, 0.05), 0.03)
    d = smooth_min(d, capsule(q, [0.43, 0.42, -0.14], [0.45, 0.58, 0.95], 0.068, 0.055), 0.03)
    for z, size in ((0.78, 0.15), (0.42, 0.07), (0.16, 0.07)):
        y = 0.435 + 0.135 * (z + 0.14)
        d = smooth_min(d, box(p, [0, y, z], [0.45, 0.045, size], 0.03), 0.03)
    d = smooth_min(d, capsule(q, [0.445, -0.43, -0.62], [0.445, 0.45, -0.62], 0.038), 0.02)
    return smooth_min(d, capsule(p, [-0.445, 0.0, -0.62], [0.445, 0.0, -0.62], 0.038), 0.02)
