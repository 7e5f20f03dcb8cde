"""A solver that fails when told to, in every way that solvers fail."""

from dataclasses import replace

import numpy as np

from market import solve as gate
from market import window


def _raise(_):
    raise RuntimeError("the solver stumbled")


KINDS = {
    "exception": _raise,
    "infeasible": lambda solution: replace(solution, status="PrimalInfeasible"),
    "insufficient_progress": lambda solution: replace(solution, status="InsufficientProgress"),
    "max_iterations": lambda solution: replace(solution, status="MaxIterations"),
    "nan": lambda solution: replace(solution, x=np.full_like(solution.x, np.nan)),
    "wrong_size": lambda solution: replace(solution, x=solution.x[:-1], z=solution.z[:-1]),
}


class FaultySolver:
    """Takes the place of the gate's attempts.

    Parameters
    ----------
    kind : str
        How attempts fail.
    depth : callable
        Number of rungs on which the n-th problem fails, counted from zero.
    clock : callable
        Tells when a problem is posed.

    Attributes
    ----------
    failed : list of tuple of (object, str)
        Of every problem that failed: when, and the rung that solved it, empty if none did.
    """

    def __init__(self, kind, depth, clock=lambda: None):
        self._spoil = KINDS[kind]
        self._depth = depth
        self._problem = -1
        self._rung = 0
        self._clock = clock
        self.failed = []

    def install(self, monkeypatch):
        monkeypatch.setattr(gate, "_attempt", self.attempt)
        # Problems are counted: they have to come one by one.
        monkeypatch.setattr(window, "SPARE_CORE", False)
        return self

    def attempt(self, problem, rung):
        if rung is gate.LADDER[0]:
            self._problem += 1
            self._rung = 0
            depth = self._depth(self._problem)
            if depth:
                solved_by = (*gate.LADDER, None)[depth]
                self.failed.append((self._clock(), solved_by.name if solved_by else ""))
        self._rung += 1
        solution = rung.solver(problem)
        return self._spoil(solution) if self._rung <= self._depth(self._problem) else solution

    @property
    def n_problems(self):
        return self._problem + 1


def only(*depths):
    """The first problems fail on so many rungs each, the others on none."""
    return lambda n: depths[n] if n < len(depths) else 0
