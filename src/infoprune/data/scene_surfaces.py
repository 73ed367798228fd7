"""Where rays meet the surfaces of a street: ground, facades, boxes, cylinders, spheres.

Everything is batched: a `Draw` gives one number a scene, rays hold scenes x h x w directions whose depth component
is 1, so that a ray's parameter is the depth at which it meets a surface. The camera is the origin, x points right,
y up, z forward; the ground lies `eye` below.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NEAR, FAR = 0.3, 80.0
CLASSES = ("sky", "road", "verge", "building", "vehicle", "person", "pole", "foliage")
SKY, ROAD, VERGE, BUILDING, VEHICLE, PERSON, POLE, FOLIAGE = range(8)


class Draw:
    """Random numbers for `count` scenes, each scenes x 1 x 1."""

    def __init__(self, count: int, generator: torch.Generator):
        self.count, self.generator = count, generator

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(self.count, 1, 1, generator=self.generator) * (high - low) + low

    def integer(self, low: int, high: int) -> Tensor:
        return torch.randint(low, high, (self.count, 1, 1), generator=self.generator)

    def chance(self, probability: float) -> Tensor:
        return self.uniform() < probability


class Rays(NamedTuple):
    """Directions scenes x h x w of one ray a pixel, the height of the camera and the focal length in pixels."""

    x: Tensor
    y: Tensor
    z: Tensor
    eye: Tensor
    focal: Tensor


class Street(NamedTuple):
    """The road's middle and half its width, in metres."""

    middle: Tensor
    half: Tensor


class Materials(NamedTuple):
    """Where textures begin to be others: grass up to `grass`, then gravel, brick up to `wall`, then photographs."""

    grass: int
    gravel: int
    wall: int
    count: int


class Surface(NamedTuple):
    """What each ray meets; every field broadcasts to scenes x h x w. Colour is texture(u, v) * gain + lift."""

    depth: Tensor
    kind: Tensor
    texture: Tensor
    normal_x: Tensor
    normal_y: Tensor
    normal_z: Tensor
    u: Tensor
    v: Tensor
    gain: Tensor
    lift: Tensor


def surface(
    depth: Tensor,
    kind: Tensor | int,
    texture: Tensor,
    *,
    normal: tuple[Tensor | float, Tensor | float, Tensor | float],
    uv: tuple[Tensor, Tensor],
    gain: Tensor | float = 1.0,
    lift: Tensor | float = 0.0,
) -> Surface:
    """A surface that is nowhere nearer than NEAR nor farther than FAR."""
    visible = torch.where((depth > NEAR) & (depth < FAR), depth, torch.inf)
    numbers = [torch.as_tensor(each, dtype=depth.dtype) for each in (*normal, *uv, gain, lift)]
    return Surface(visible, torch.as_tensor(kind), texture, *numbers)


def nearest(surfaces: list[Surface]) -> Surface:
    """What is met first."""
    seen = surfaces[0]
    for other in surfaces[1:]:
        closer = other.depth < seen.depth
        seen = Surface(*(torch.where(closer, new, old) for new, old in zip(other, seen, strict=True)))
    return seen


def ground(rays: Rays, street: Street, materials: Materials, draw: Draw) -> Surface:
    """A gravel road with a dashed middle line, between verges of grass or gravel."""
    depth = torch.where(rays.y < -1e-4, -rays.eye / rays.y.clamp(max=-1e-4), torch.inf)
    x, z = depth * rays.x, depth * rays.z
    on_road = (x - street.middle).abs() < street.half
    gravel, grass = draw.integer(materials.grass, materials.gravel), draw.integer(0, materials.grass)
    verge = torch.where(draw.chance(0.6), grass, draw.integer(materials.grass, materials.gravel))
    dash = on_road & ((x - street.middle).abs() < 0.09) & ((z / 3 + draw.uniform()).frac() < 0.5)
    return surface(
        depth,
        torch.where(on_road, ROAD, VERGE),
        torch.where(on_road, gravel, verge),
        normal=(0.0, 1.0, 0.0),
        uv=(x / 2, z / 2),
        gain=torch.where(dash, 0.2, 1.0),
        lift=torch.where(dash, 0.75, 0.0),
    )


def facade(rays: Rays, street: Street, side: int, materials: Materials, draw: Draw) -> Surface:
    """A row of houses of random heights, with gaps and windows, left (-1) or right (1) of the street."""
    x = street.middle + side * (street.half + draw.uniform(1, 5))
    towards = torch.where(rays.x.abs() < 1e-4, 1e-4, rays.x)
    depth = torch.where(rays.x * side > 1e-4, x / towards, torch.inf)
    height, along = depth * rays.y + rays.eye, depth * rays.z
    house = (along / draw.uniform(6, 14)).floor()
    chance = ((house * 12.9898 + x * 78.233).sin() * 43758.5453).frac().abs().nan_to_num(0)
    top = torch.where(chance < 0.25, -1.0, 3 + 9 * chance)
    storey = (height / 2.6).frac()
    window = ((along / 1.6).frac() < 0.45) & (storey.abs() > 0.35) & (storey < 0.85)
    walls = materials.gravel + (1000 * chance).long() % (materials.count - materials.gravel)
    return surface(
        torch.where((height > 0) & (height < top), depth, torch.inf),
        BUILDING,
        walls,
        normal=(-float(side), 0.0, 0.0),
        uv=(along / 3, height / 3),
        gain=torch.where(window, 0.25, 1.0),
        lift=torch.where(window, 0.1 * draw.uniform(0.25, 0.7), 0.0),
    )


def box(rays: Rays, street: Street, materials: Materials, draw: Draw) -> Surface:
    """A vehicle: a box on the ground, turned by some angle, worn by a photograph; absent in 45 % of the scenes."""
    z, x = draw.uniform(5, 35), street.middle + draw.uniform(-1, 1) * (street.half + 1)
    yaw = draw.uniform(-0.5, 0.5) + draw.chance(0.15) * 1.57
    cos, sin = yaw.cos(), yaw.sin()
    origin = (sin * z - cos * x, rays.eye, -(sin * x + cos * z))
    towards = (cos * rays.x - sin * rays.z, rays.y, sin * rays.x + cos * rays.z)
    width, height, length = draw.uniform(0.8, 1.1), draw.uniform(1.3, 2.6), draw.uniform(1.6, 2.6)
    spans = ((-width, width), (torch.zeros_like(height), height), (-length, length))
    entries, exits = zip(*(_slab(*axis) for axis in zip(origin, towards, spans, strict=True)), strict=True)
    into, out = (
        torch.maximum(torch.maximum(*entries[:2]), entries[2]),
        torch.minimum(torch.minimum(*exits[:2]), exits[2]),
    )
    met = (into < out) & draw.chance(0.55)
    at_x = (entries[0] >= entries[1]) & (entries[0] >= entries[2])
    at_y = (entries[1] > entries[0]) & (entries[1] >= entries[2])
    facing_x = torch.where(at_x, -towards[0].sign(), 0.0)
    facing_z = torch.where(at_x | at_y, 0.0, -towards[2].sign())
    point = [o + into * d for o, d in zip(origin, towards, strict=True)]
    return surface(
        torch.where(met, into, torch.inf),
        VEHICLE,
        draw.integer(materials.wall, materials.count),
        normal=(cos * facing_x + sin * facing_z, at_y.float(), cos * facing_z - sin * facing_x),
        uv=(torch.where(at_x, point[2], point[0]) / 2.5, torch.where(at_y, point[2], point[1]) / 2.5),
    )


def _slab(origin: Tensor, towards: Tensor, span: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Where a ray enters and leaves the space between two parallel planes."""
    towards = torch.where(towards.abs() < 1e-5, 1e-5, towards)
    first, second = ((edge - origin) / towards for edge in span)
    return torch.minimum(first, second), torch.maximum(first, second)


def person(rays: Rays, street: Street, materials: Materials, draw: Draw) -> Surface:
    """A short cylinder near the road."""
    x = street.middle + draw.uniform(-1.2, 1.2) * street.half
    wear = draw.integer(materials.wall, materials.count)
    size = (draw.uniform(0.22, 0.35), draw.uniform(1.5, 1.9))
    return _cylinder(rays, (x, draw.uniform(4, 30)), size, PERSON, wear, draw.chance(0.6))


def tree(rays: Rays, street: Street, materials: Materials, draw: Draw) -> tuple[Surface, Surface]:
    """A trunk or pole beside the road, and the foliage on it, which only some have."""
    side = torch.where(draw.chance(0.5), -1.0, 1.0)
    x, z = street.middle + side * (street.half + draw.uniform(0.2, 2)), draw.uniform(4, 30)
    height, there = draw.uniform(2.2, 5), draw.chance(0.6)
    bark = draw.integer(materials.grass, materials.wall)
    trunk = _cylinder(rays, (x, z), (draw.uniform(0.08, 0.2), height), POLE, bark, there)
    radius, leaves = draw.uniform(0.8, 1.9), draw.integer(0, materials.grass)
    centre = (x, height + 0.6 * radius - rays.eye, z)
    return trunk, _sphere(rays, centre, radius, leaves, there & draw.chance(0.7))


def _cylinder(
    rays: Rays, place: tuple[Tensor, Tensor], size: tuple[Tensor, Tensor], kind: int, texture: Tensor, there: Tensor
) -> Surface:
    (x, z), (radius, height) = place, size
    a, b = rays.x.square() + rays.z.square(), rays.x * x + rays.z * z
    inside = b.square() - a * (x.square() + z.square() - radius.square())
    depth = (b - inside.clamp(min=0).sqrt()) / a
    up, px, pz = rays.eye + depth * rays.y, depth * rays.x - x, depth * rays.z - z
    met = (inside > 0) & (up > 0) & (up < height) & there
    normal, uv = (px / radius, 0.0, pz / radius), (torch.atan2(px, pz) / 1.5, up / 2)
    return surface(torch.where(met, depth, torch.inf), kind, texture, normal=normal, uv=uv)


def _sphere(
    rays: Rays, centre: tuple[Tensor, Tensor, Tensor], radius: Tensor, texture: Tensor, there: Tensor
) -> Surface:
    directions = rays[:3]
    a = sum(d.square() for d in directions)
    b = directions[0] * centre[0] + directions[1] * centre[1] + directions[2] * centre[2]
    inside = b.square() - a * (centre[0].square() + centre[1].square() + centre[2].square() - radius.square())
    depth = (b - inside.clamp(min=0).sqrt()) / a
    px, py, pz = (depth * d - c for d, c in zip(directions, centre, strict=True))
    normal, uv = (px / radius, py / radius, pz / radius), (torch.atan2(px, pz), py / 1.5)
    return surface(torch.where((inside > 0) & there, depth, torch.inf), FOLIAGE, texture, normal=normal, uv=uv)
