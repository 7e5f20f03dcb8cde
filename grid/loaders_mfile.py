"""MATPOWER case files: their tables and the statements that convert units."""

from __future__ import annotations

import ast
import math
import operator
import re
from typing import TYPE_CHECKING

import numpy as np

from configs.files import InputFileError, check_file
from configs.limits import BUSES, TABLE_BYTES, WHOLE_NUMBER
from grid.network import NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

# Columns of the tables by MATPOWER's names, counted from 0.
_COLUMNS = {
    table: tuple(names.split())
    for table, names in {
        "bus": "BUS_I BUS_TYPE PD QD GS BS BUS_AREA VM VA BASE_KV ZONE VMAX VMIN",
        "gen": "GEN_BUS PG QG QMAX QMIN VG MBASE GEN_STATUS PMAX PMIN",
        "branch": "F_BUS T_BUS BR_R BR_X BR_B RATE_A RATE_B RATE_C TAP SHIFT BR_STATUS",
    }.items()
}
_TABLE = re.compile(r"^\s*mpc\.(\w+)\s*=\s*\[([^\[\]]*)\]", re.DOTALL | re.MULTILINE)
_CELL_TABLE = re.compile(r"^\s*mpc\.\w+\s*=\s*\{[^{}]*\}", re.DOTALL | re.MULTILINE)
_BASE = re.compile(r"mpc\.baseMVA")
_BUS_CELL = re.compile(r"mpc\.bus\(\s*(\d+)\s*,\s*(\w+)\s*\)")
_ASSIGNMENT = re.compile(r"^([A-Za-z]\w*)\s*=\s*([^=].*)$")
_COLUMN_CHANGE = re.compile(
    r"^mpc\.(bus|branch|gen)\(:,(\[[^\]]*\]|\w+)\)=mpc\.\1\(:,(\[[^\]]*\]|\w+)\)([*/])(.+)$"
)
_HARMLESS = re.compile(r"^(function\b.*|mpc\.version\s*=.*|\[[^\]]*\]\s*=\s*(idx_\w+|deal\(.*))$")

_LONGEST_EXPRESSION = 200
"""Characters; the units of a case file need a few."""

_OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "sqrt": math.sqrt,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "acos": math.acos,
    "atan": math.atan,
}


class MatpowerCase:
    """The tables of a case file and the statements that change them.

    Distribution cases hold kW and ohm, and convert them by statements at their end. Those
    that scale columns are carried out; one that is not understood is refused, because
    leaving it out would change the network.

    Parameters
    ----------
    path : Path
        The file, case format 2.

    Raises
    ------
    NetworkError
        If the file is missing or not understood; the message names it and the place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.base_mva = math.nan
        self.tables: dict[str, NDArray[np.float64]] = {}
        self._variables = {"pi": math.pi}
        try:
            check_file(path, TABLE_BYTES)
            text = path.read_text(encoding="utf-8", errors="replace")
        except InputFileError as error:
            raise NetworkError(str(error)) from error
        except OSError as error:
            msg = f"{path}: cannot be read ({error})"
            raise NetworkError(msg) from error
        text = re.sub(r"%.*", "", text)
        text = re.sub(r"\.\.\..*\n", " ", text)
        for found in _TABLE.finditer(text):
            if found[1] in _COLUMNS:
                self.tables[found[1]] = self._parse(found[1], found[2])
        for name in _COLUMNS:
            if name not in self.tables:
                raise self._error(f"no table mpc.{name} (only case format 2 is read)")
        rest = _CELL_TABLE.sub("", _TABLE.sub("", text))
        for statement in re.split(r"[;\n]", rest):
            if statement.strip():
                self._execute(statement.strip())
        if not (math.isfinite(self.base_mva) and self.base_mva > 0):
            raise self._error("no positive mpc.baseMVA")

    def column(self, table: str, name: str) -> NDArray[np.float64]:
        """Return a column by MATPOWER's name."""
        return self.tables[table][:, _COLUMNS[table].index(name)]

    def numbers(self, table: str, name: str) -> NDArray[np.int64]:
        """Return a column of bus numbers."""
        values = self.column(table, name)
        faulty = (values != np.round(values)) | (np.abs(values) > WHOLE_NUMBER)
        if faulty.any():
            k = int(faulty.argmax())
            raise self._error(f"row {k + 1} of mpc.{table}: {name} {values[k]:g} is no bus number")
        return values.astype(np.int64)

    def _error(self, fault: str) -> NetworkError:
        return NetworkError(f"{self.path}: {fault}")

    def _parse(self, name: str, text: str) -> NDArray[np.float64]:
        """Read a table; columns that no one needs here may be missing at its right."""
        width = len(_COLUMNS[name])
        rows = [row.replace(",", " ").split() for row in re.split(r"[;\n]", text)]
        values = []
        for k, row in enumerate((row for row in rows if row), start=1):
            if len(row) < width:
                raise self._error(f"row {k} of mpc.{name} has {len(row)} of {width} columns")
            if k > 2 * BUSES:
                raise self._error(f"mpc.{name} has more than {2 * BUSES:,} rows")
            values.append([self._cell(cell, f"row {k} of mpc.{name}") for cell in row[:width]])
        return np.array(values).reshape(-1, width)

    def _cell(self, text: str, place: str) -> float:
        """Read a number, or compute one like ``135/sqrt(3)``."""
        try:
            value = float(text)
        except ValueError:
            value = self._evaluate(text)
        if math.isnan(value):
            raise self._error(f"{place}: {text} is not a number")
        return value

    def _execute(self, statement: str) -> None:
        """Carry out one statement outside the tables."""
        statement = statement.removesuffix(",").strip()
        if found := re.match(r"^mpc\.baseMVA\s*=\s*(.+)$", statement):
            self.base_mva = self._evaluate(found[1])
        elif found := _COLUMN_CHANGE.match(self._compact(statement)):
            self._scale(found, statement)
        elif _HARMLESS.match(statement):
            pass
        elif re.match(r"^mpc\b(?!\.(gencost|bus_name|gentype|genfuel|version)\b)", statement):
            raise self._error(f"statement not understood: {statement}")
        elif found := _ASSIGNMENT.match(statement):
            self._variables[found[1]] = self._evaluate(found[2])
        elif re.match(r"^(if|for|while|switch)\b", statement) or "mpc" in statement:
            raise self._error(f"statement not understood: {statement}")

    @staticmethod
    def _compact(statement: str) -> str:
        """Drop blanks but those that separate column names."""
        inside = re.sub(
            r"\[([^\]]*)\]", lambda m: f"[{','.join(re.split('[ ,]+', m[1]))}]", statement
        )
        return re.sub(r"\s+", "", inside)

    def _scale(self, change: re.Match[str], statement: str) -> None:
        """Carry out ``mpc.table(:, to) = mpc.table(:, of) * by``, or with a division."""
        table, to, of, sign, by = change.groups()
        names = [[name for name in part.strip("[]").split(",") if name] for part in (to, of)]
        known = _COLUMNS[table]
        if len(names[0]) != len(names[1]) or not {*names[0], *names[1]} <= set(known):
            raise self._error(f"statement not understood: {statement}")
        factor = self._evaluate(by)
        if not (math.isfinite(factor) and factor):
            raise self._error(f"statement scales by {factor:g}: {statement}")
        target, origin = ([known.index(name) for name in part] for part in names)
        scaled = self.tables[table][:, origin] * (1 / factor if sign == "/" else factor)
        self.tables[table][:, target] = scaled

    def _evaluate(self, expression: str) -> float:
        """Compute a number from numbers, variables, mpc.baseMVA and single cells of mpc.bus."""

        def cell(found: re.Match[str]) -> str:
            return repr(float(self.column("bus", found[2])[int(found[1]) - 1]))

        def value(node: ast.expr) -> float:
            match node:
                case ast.Constant(value=int() | float() as number):
                    return float(number)
                case ast.Name(id=name):
                    return self._variables[name]
                case ast.UnaryOp(op=ast.USub(), operand=operand):
                    return -value(operand)
                case ast.BinOp(left=left, op=op, right=right):
                    return _OPERATORS[type(op)](value(left), value(right))
                case ast.Call(func=ast.Name(id=name), args=[argument]):
                    return _FUNCTIONS[name](value(argument))
            raise ValueError(ast.unparse(node))

        try:
            python = _BUS_CELL.sub(cell, expression)
            python = _BASE.sub(repr(self.base_mva), python).replace(".^", "^").replace("^", "**")
            if len(python) > _LONGEST_EXPRESSION:
                raise ValueError(f"{len(python)} characters")
            return float(value(ast.parse(python.strip(), mode="eval").body))
        # A root of a negative number is complex, and no float.
        except (ArithmeticError, LookupError, SyntaxError, TypeError, ValueError) as error:
            raise self._error(f"expression not understood: {expression:.80}") from error
