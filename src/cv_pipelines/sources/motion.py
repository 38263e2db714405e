"""Simulated phone recordings of six activities and the transitions between them, for samples.

Nobody's data: people differ in cadence, vigour, posture and how they wear the phone, so that a split by
subject is as needed here as on real recordings, and a model can learn the activities from few of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from cv_pipelines.sources.signals import ACTIVITIES, RATE


@dataclass(frozen=True)
class _Gait:
    """One way of walking: cadence and strength relative to level walking, harmonics, forward lean (rad)."""

    pace: float
    strength: float
    harmonics: tuple[float, ...]
    phases: tuple[float, ...]
    lean: float
    turn: float


_GAITS = {
    "WALKING": _Gait(1.0, 1.0, (1.0, 0.45, 0.2, 0.1), (0.0, 0.6, 1.2, 0.3), 0.0, 1.0),
    "WALKING_UPSTAIRS": _Gait(0.86, 0.8, (1.0, 0.2, 0.3, 0.05), (0.0, 2.4, 2.0, 1.0), 0.14, 1.5),
    "WALKING_DOWNSTAIRS": _Gait(1.08, 1.35, (0.8, 0.7, 0.5, 0.3), (0.0, 1.4, 2.8, 4.0), -0.05, 0.8),
}

_AFTER = {"STAND_TO_SIT": "SITTING", "SIT_TO_STAND": "STANDING", "SIT_TO_LIE": "LAYING"}
_AFTER |= {"LIE_TO_SIT": "SITTING", "STAND_TO_LIE": "LAYING", "LIE_TO_STAND": "STANDING"}


@dataclass(frozen=True)
class Person:
    """How one simulated subject moves and wears the phone.

    Attributes:
        cadence: steps a second in level walking, 1.6 to 2.2.
        vigour: factor on the strength of every movement.
        phases: (4,) offsets in rad of the gait's harmonics.
        tilts: posture to (pitch, roll) in rad of the trunk; upright is (0, 0), lying on the back (π/2, 0).
        mount: (3, 3) rotation from trunk to phone; the phone's x axis points up when standing.
    """

    cadence: float
    vigour: float
    phases: np.ndarray
    tilts: dict[str, tuple[float, float]]
    mount: np.ndarray


def draw_person(rng: np.random.Generator) -> Person:
    """Draw a subject: cadence, vigour, gait, how they sit and lie, and the tilt of the phone (about 4°)."""
    angles = {
        "STANDING": (rng.normal(0.0, 0.05), rng.normal(0.0, 0.04)),
        "SITTING": (rng.normal(0.48, 0.07), rng.normal(0.0, 0.05)),
        "LAYING": (rng.normal(1.5, 0.09), rng.normal(0.0, 0.15)),
    }
    return Person(
        cadence=rng.uniform(1.6, 2.2),
        vigour=float(np.exp(rng.normal(0.0, 0.12))),
        phases=rng.normal(0.0, 0.2, 4),
        tilts={name: (float(pitch), float(roll)) for name, (pitch, roll) in angles.items()},
        mount=_rotation(*rng.normal(0.0, 0.07, 3)),
    )


def _rotation(roll: float, pitch: float, yaw: float) -> np.ndarray:
    (cx, cy, cz), (sx, sy, sz) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def simulate(
    person: Person, plan: list[tuple[str, int]], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Simulate one recording.

    Args:
        person: who.
        plan: (activity or transition, number of samples at 50 Hz) in order.
        rng: noise and the drift of gait and posture.

    Returns:
        acceleration (T, 3) in g, gravity included, and angular velocity (T, 3) in rad/s, both float64 with
        the sensors' noise and in the phone's axes.
    """
    trunk = _posture(person, plan, rng)
    push, spin = _motion(person, plan, rng)
    pitch, roll = trunk.T
    gravity = np.stack([np.cos(pitch) * np.cos(roll), np.sin(roll), np.sin(pitch) * np.cos(roll)], axis=1)
    turning = np.gradient(trunk, 1 / RATE, axis=0)
    spin += np.stack([np.zeros(len(trunk)), turning[:, 0], turning[:, 1]], axis=1)
    acc = (gravity + push) @ person.mount.T + rng.normal(0, 0.01, push.shape)
    gyro = spin @ person.mount.T + rng.normal(0, 0.02, 3) + rng.normal(0, 0.02, spin.shape)
    return acc, gyro


def _posture(person: Person, plan: list[tuple[str, int]], rng: np.random.Generator) -> np.ndarray:
    """Trunk (pitch, roll) over time, (T, 2): constant in an activity, a smooth ramp in a transition."""
    ends = np.cumsum([length for _, length in plan])
    knots, angles = [], []
    for (name, length), end in zip(plan, ends, strict=True):
        here = _tilt(person, _AFTER.get(name, name)) + rng.normal(0, 0.02, 2)
        if name not in _AFTER:
            knots.append(end - length)
            angles.append(here)
        knots.append(end - 1)
        angles.append(here)
    at = np.arange(ends[-1])
    ramps = np.stack([np.interp(at, knots, column) for column in np.array(angles).T], axis=1)
    return gaussian_filter1d(ramps, 12, axis=0, mode="nearest") + 0.02 * _drift((len(at), 2), rng)


def _tilt(person: Person, name: str) -> np.ndarray:
    upright = np.array(person.tilts["STANDING"])
    gait = _GAITS.get(name)
    return upright + np.array([gait.lean, 0.0]) if gait else np.array(person.tilts[name])


def _drift(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Slow noise of unit variance along the first axis, correlated over about a second."""
    noise = gaussian_filter1d(rng.standard_normal(shape), 50, axis=0, mode="reflect")
    return noise * np.sqrt(2 * 50 * np.sqrt(np.pi))


def _motion(
    person: Person, plan: list[tuple[str, int]], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Movement of the trunk: acceleration (T, 3) in g and angular velocity (T, 3) in rad/s."""
    push, spin = [], []
    for name, length in plan:
        gait = _GAITS.get(name)
        strength = 0.004 if name in ACTIVITIES else 0.03
        a, b = strength * rng.standard_normal((2, length, 3))
        if gait:
            walk, sway = _steps(person, gait, length, rng)
            a, b = a + walk, b + sway
        push.append(a)
        spin.append(b)
    return np.concatenate(push), np.concatenate(spin)


def _steps(
    person: Person, gait: _Gait, length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Vertical, lateral, forward acceleration (g) and rotation (rad/s) of walking, (length, 3) each."""
    wander = _drift((length, 2), rng)
    speed = person.cadence * gait.pace * rng.normal(1.0, 0.02) * (1 + 0.04 * wander[:, 0])
    phase = 2 * np.pi * np.cumsum(speed) / RATE + rng.uniform(0, 4 * np.pi)
    force = 0.26 * person.vigour * gait.strength * (1 + 0.15 * wander[:, 1])
    order = np.arange(1, 5)
    waves = np.cos(phase[:, None] * order + np.array(gait.phases) + person.phases)
    vertical = waves @ np.array(gait.harmonics)
    lateral = 0.5 * np.sin(phase / 2 + person.phases[0]) + 0.2 * np.sin(1.5 * phase + person.phases[1])
    forward = 0.6 * np.sin(phase + person.phases[2]) + 0.25 * waves[:, 1]
    walk = force[:, None] * np.stack([vertical, lateral, forward], axis=1)
    turns = np.stack([np.sin(phase / 2), 0.7 * np.cos(phase), 0.5 * np.cos(phase / 2)], axis=1)
    rough = rng.normal(0, 0.15, (2, length, 3)) * force[None, :, None]
    return walk + rough[0], gait.turn * force[:, None] * 2.0 * turns + rough[1]
