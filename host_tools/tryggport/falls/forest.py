"""The score of the fall detector: gradient-boosted trees on one-byte features, each monotone.

A tree has depth 3: 7 nodes (feature, threshold) breadth first, then 8 leaves (value + 128); a feature above the threshold
goes right. `grow` is Newton boosting of the logistic loss (Friedman 2001; Chen and Guestrin 2016). A feature may only raise
the score, or only lower it, as its direction says: what more of it means is known, and noise in the data cannot claim else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

DEPTH = 3
NODES = 2**DEPTH - 1
TREE_SIZE = 2 * NODES + 2**DEPTH
SCALE = 256  # leaf units in one unit of log-odds

Row = tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    trees: int = 40
    rate: float = 0.1
    ridge: float = 20.0
    least: float = 40.0  # rows' worth of weight in a leaf


@dataclass(frozen=True)
class _Node:
    rows: list[int]
    low: float
    high: float


@dataclass(frozen=True)
class _Split:
    gain: float
    feature: int
    threshold: int
    left: float
    right: float


def score(row: Row, trees: bytes) -> int:
    """The sum of the leaves that a row of bytes reaches; what the firmware computes."""
    total = 0
    for base in range(0, len(trees), TREE_SIZE):
        node = 0
        for _ in range(DEPTH):
            at = base + 2 * node
            node = 2 * node + (2 if row[trees[at]] > trees[at + 1] else 1)
        total += trees[base + NODES + node] - 128
    return total


def grow(
    rows: Sequence[Row],
    falls: Sequence[bool],
    weights: Sequence[float],
    directions: Sequence[int],
    settings: Settings = Settings(),
) -> bytes:
    """Trees that tell falls from other rows. `weights` should average 1; `directions`: 1 raises, -1 lowers the score."""
    forest = bytearray()
    margin = [0.0] * len(rows)
    for _ in range(settings.trees):
        likely = [1 / (1 + math.exp(-m)) for m in margin]
        slopes = [w * (f - p) for w, f, p in zip(weights, falls, likely, strict=True)]
        bends = [w * p * (1 - p) for w, p in zip(weights, likely, strict=True)]
        tree = _Grower(rows, slopes, bends, weights, directions, settings).tree(margin)
        forest += tree
    return bytes(forest)


class _Grower:
    def __init__(
        self,
        rows: Sequence[Row],
        slopes: list[float],
        bends: list[float],
        weights: Sequence[float],
        directions: Sequence[int],
        settings: Settings,
    ) -> None:
        self.rows, self.slopes, self.bends, self.weights = rows, slopes, bends, weights
        self.directions, self.settings = directions, settings

    def tree(self, margin: list[float]) -> bytes:
        """One more tree; adds its leaves to `margin`."""
        level = [_Node(list(range(len(self.rows))), -math.inf, math.inf)]
        nodes = bytearray()
        for _ in range(DEPTH):
            below: list[_Node] = []
            for node in level:
                split = self.best(node)
                if split is None:  # everything goes left
                    nodes += bytes((0, 255))
                    below += [node, _Node([], node.low, node.high)]
                else:
                    nodes += bytes((split.feature, split.threshold))
                    below += self.parted(node, split)
            level = below
        leaves = [self.leaf(node) for node in level]
        for node, leaf in zip(level, leaves, strict=True):
            for i in node.rows:
                margin[i] += leaf / SCALE
        return bytes(nodes) + bytes(leaf + 128 for leaf in leaves)

    def value(self, slope: float, bend: float, node: _Node) -> float:
        return max(node.low, min(node.high, slope / (bend + self.settings.ridge)))

    def leaf(self, node: _Node) -> int:
        slope = sum(self.slopes[i] for i in node.rows)
        bend = sum(self.bends[i] for i in node.rows)
        return max(-128, min(127, round(SCALE * self.settings.rate * self.value(slope, bend, node))))

    def parted(self, node: _Node, split: _Split) -> list[_Node]:
        left = [i for i in node.rows if self.rows[i][split.feature] <= split.threshold]
        right = [i for i in node.rows if self.rows[i][split.feature] > split.threshold]
        middle = (split.left + split.right) / 2
        if self.directions[split.feature] > 0:
            return [_Node(left, node.low, middle), _Node(right, middle, node.high)]
        return [_Node(left, middle, node.high), _Node(right, node.low, middle)]

    def best(self, node: _Node) -> _Split | None:
        found: _Split | None = None
        for feature in range(len(self.directions)):
            split = self.best_of(feature, node)
            if split and (found is None or split.gain > found.gain):
                found = split
        return found

    def best_of(self, feature: int, node: _Node) -> _Split | None:
        slope, bend, weight = [0.0] * 256, [0.0] * 256, [0.0] * 256
        for i in node.rows:
            byte = self.rows[i][feature]
            slope[byte] += self.slopes[i]
            bend[byte] += self.bends[i]
            weight[byte] += self.weights[i]
        all_slope, all_bend, all_weight = sum(slope), sum(bend), sum(weight)
        ridge, least = self.settings.ridge, self.settings.least
        found: _Split | None = None
        best = all_slope**2 / (all_bend + ridge) + 1e-6
        left_slope = left_bend = left_weight = 0.0
        for threshold in range(255):
            left_slope += slope[threshold]
            left_bend += bend[threshold]
            left_weight += weight[threshold]
            if not weight[threshold] or left_weight < least or all_weight - left_weight < least:
                continue
            gain = left_slope**2 / (left_bend + ridge) + (all_slope - left_slope) ** 2 / (all_bend - left_bend + ridge)
            if gain <= best:
                continue
            left = self.value(left_slope, left_bend, node)
            right = self.value(all_slope - left_slope, all_bend - left_bend, node)
            if (right - left) * self.directions[feature] > 0:
                best = gain
                found = _Split(gain, feature, threshold, left, right)
        return found
