"""Where the buses of a radial network stand on a map: a compact tree without crossings.

Columns count the lines from the substation. From every bus the largest branch goes straight on,
the others leave it to both sides. They are placed from the far end to the near one, each as close
as it can be to what is there: so no connection, drawn from its bus along the column and then into
the next one, crosses another. In the manner of the contours of Reingold and Tilford (IEEE
Transactions on Software Engineering 7(2), 1981, doi:10.1109/TSE.1981.234519).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

UP, DOWN = 1, -1


class Block:
    """A branch laid out by itself: its buses, and how far it reaches to both sides.

    Attributes
    ----------
    row : dict of int to int
        Row of every bus, that of the first one 0.
    reach : dict of int to dict of int to int
        By side, the outermost row that is taken in each column.
    """

    def __init__(self, bus: int, column: int) -> None:
        self.row = {bus: 0}
        self.reach = {UP: {column: 0}, DOWN: {column: 0}}

    def go_on(self, other: Block) -> None:
        """Put a branch straight ahead."""
        self._add(other, 0)

    def hang(self, other: Block, column: int) -> None:
        """Put a branch to the side where it stays closer; it leaves this one in a column."""
        side = min((UP, DOWN), key=lambda s: (abs(self._offset(other, s)), -s))
        offset = self._offset(other, side)
        self._add(other, offset)
        taken = self.reach[side].get(column, 0)
        self.reach[side][column] = side * max(side * taken, side * offset)

    def _offset(self, other: Block, side: int) -> int:
        """Row at which a branch just fits."""
        inner = other.reach[-side]
        apart = [side * (self.reach[side].get(c, 0) - row) for c, row in inner.items()]
        return side * (1 + max(0, *apart))

    def _add(self, other: Block, offset: int) -> None:
        self.row |= {bus: row + offset for bus, row in other.row.items()}
        for side, own in self.reach.items():
            for column, row in other.reach[side].items():
                own[column] = side * max(side * own.get(column, 0), side * (row + offset))


def feeder_layout(parent: Mapping[int, int], source: int) -> dict[int, tuple[int, int]]:
    """Lay out a radial network.

    Parameters
    ----------
    parent : mapping of int to int
        Bus that each bus but the source is fed from.
    source : int
        Bus of the substation.

    Returns
    -------
    dict of int to (int, int)
        Column, lines from the source, and row of every bus, from the source outwards: branch by
        branch, the straight one first.

    Raises
    ------
    ValueError
        If the buses are no tree that begins at the source.
    """
    children: dict[int, list[int]] = {}
    for bus, origin in parent.items():
        children.setdefault(origin, []).append(bus)
    order, column = [source], {source: 0}
    for bus in order:  # which grows meanwhile
        for child in children.get(bus, []):
            if child not in column:
                column[child] = column[bus] + 1
                order.append(child)
    if len(order) != len(parent) + 1:
        raise ValueError("the lines are no tree that begins at the source bus")
    size: dict[int, int] = {}
    depth: dict[int, int] = {}
    block: dict[int, Block] = {}
    for bus in reversed(order):
        # The deepest branch goes straight on: the map is wide rather than high.
        branches = sorted(children.get(bus, []), key=lambda b: (depth[b], size[b]), reverse=True)
        children[bus] = branches
        size[bus] = 1 + sum(size[b] for b in branches)
        depth[bus] = 1 + max((depth[b] for b in branches), default=0)
        block[bus] = Block(bus, column[bus])
        for k, branch in enumerate(branches):
            part = block.pop(branch)
            if k == 0:
                block[bus].go_on(part)
            else:
                block[bus].hang(part, column[bus])
    row = block[source].row
    return {bus: (column[bus], row[bus]) for bus in _outwards(children, source)}


def _outwards(children: Mapping[int, Sequence[int]], source: int) -> list[int]:
    """Buses branch by branch."""
    out, waiting = [], [source]
    while waiting:
        bus = waiting.pop()
        out.append(bus)
        waiting.extend(reversed(children.get(bus, [])))
    return out


def connections(
    parent: Mapping[int, int], place: Mapping[int, tuple[int, int]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw the lines: along the column of the feeding bus, then into the next column.

    Returns
    -------
    x, y : ndarray, shape (4 n_lines,)
        Three points of every line, in the order of ``parent``, each followed by NaN.
    """
    points = [
        ((x0, y0), (x0, y1), (x1, y1), (np.nan, np.nan))
        for (x0, y0), (x1, y1) in ((place[up], place[bus]) for bus, up in parent.items())
    ]
    flat = np.array(points, dtype=float).reshape(-1, 2)
    return flat[:, 0], flat[:, 1]
