"""What the Markdown files say still holds: links, quotations, names, and nothing left out."""

import ast
import re
import shlex
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import get_args

import pytest

from configs.loading import shipped
from configs.schema import GridModel, Market, Matching, MethodName, PricingName
from market.costs import COMPONENTS
from market.fallbacks import FALLBACKS
from market.uplift import CONGESTION_ITEMS, LOSS_ITEMS

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("agents", "configs", "grid", "market", "simulation")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(p for room in (*PACKAGES, "tests") for p in (ROOT / room).rglob("*.md"))]
)
MODEL = ROOT / "market" / "MODEL.md"
PAGES = sorted(path for path in DOCUMENTS if path.name.startswith("OWN_"))
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
QUOTE = re.compile(r"<!-- quote: (\S+) -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
INLINE_MATH = re.compile(r"\$([^$\n]+)\$")
QUOTED = ("python", "yaml", "csv")
"""Languages of the blocks that have to be quotations: the others are commands and messages."""


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def text_of(path):
    return path.read_text(encoding="utf-8")


def prose(path):
    """Text without code blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text_of(path)))


documents = pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
pages = pytest.mark.parametrize("path", PAGES, ids=name_of)


# --- links ------------------------------------------------------------------------------------


def anchors(path):
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text_of(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@documents
def test_links_lead_somewhere(path):
    for link in LINK.findall(FENCE.sub("", text_of(path))):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: not in the repository"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def test_every_extension_page_is_linked_from_the_model():
    links = {(MODEL.parent / link).resolve() for link in LINK.findall(text_of(MODEL))}
    assert len(PAGES) == 4
    assert links.issuperset(PAGES)


# --- quotations -------------------------------------------------------------------------------


def place_of(piece, text):
    """Where a piece stands in a text, as whole lines, whatever its indentation; -1 if nowhere."""
    wanted, lines = dedent(piece).splitlines(), text.splitlines()
    for k in range(len(lines) - len(wanted) + 1):
        if dedent("\n".join(lines[k : k + len(wanted)])).splitlines() == wanted:
            return k
    return -1


@pages
def test_quotations_are_the_files_own_text(path):
    quotations = QUOTE.findall(text_of(path))
    assert quotations
    for source, _, block in quotations:
        pieces = re.split(r"^ *# \.\.\.\n", block, flags=re.MULTILINE)
        places = [place_of(piece, text_of(ROOT / source)) for piece in pieces]
        assert min(places) >= 0, f"not in {source}:\n{pieces[places.index(min(places))]}"
        assert all(one < other for one, other in pairwise(places)), f"in another order in {source}"


@pages
def test_every_block_of_code_is_a_quotation(path):
    blocks = [block for _, language, block in FENCE.findall(text_of(path)) if language in QUOTED]
    assert blocks == [block for _, _, block in QUOTE.findall(text_of(path))]


@pytest.mark.parametrize(
    ("piece", "place"),
    [("b\nc\n", 1), ("  b\n  c\n", 1), ("b\n", 1), ("c\nb\n", -1), ("b\n\nc\n", -1), ("d\n", -1)],
)
def test_pieces_are_found_as_whole_lines(piece, place):
    assert place_of(piece, "a\n    b\n    c\nbd\n") == place


# --- the model --------------------------------------------------------------------------------


def defined_names():
    """Functions, classes, and ``Class.attribute`` of all rooms."""
    out = set()
    for path in (path for room in PACKAGES for path in (ROOT / room).rglob("*.py")):
        tree = ast.parse(text_of(path))
        functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))
        out |= {function.name for function in functions}
        for owner in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
            out.add(owner.name)
            out |= {f"{owner.name}.{name}" for name in attributes(owner)}
    return out


def attributes(owner):
    """Fields, methods, and what methods set of ``self``."""
    for node in owner.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.FunctionDef):
            yield node.name
    for node in ast.walk(owner):
        is_set = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if is_set and isinstance(node.value, ast.Name) and node.value.id == "self":
            yield node.attr


def nomenclature():
    """Rows of the table: symbols, code names, units, meaning."""
    table = text_of(MODEL).partition("\n## Nomenclature\n")[2]
    rows = [line.strip("|\n").split("|") for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_names_of_the_nomenclature_exist():
    rows, known = nomenclature(), defined_names()
    assert len(rows) > 60
    assert {len(row) for row in rows} == {4}
    names = {name for _, code, *_ in rows for name in re.findall(r"`([^`]+)`", code)}
    assert sorted(names - known) == []


def test_every_symbol_has_a_code_name_and_a_unit():
    for symbols, code, unit, meaning in nomenclature():
        n_names = code.count("`") // 2
        assert n_names, symbols
        assert symbols.count("$") // 2 in (0, n_names) or n_names == 1, symbols
        n_units = len(unit.split(", "))
        assert n_units in (1, n_names), symbols
        assert unit, symbols
        assert meaning, symbols


def evidence():
    """Commands of the table of claims."""
    table = text_of(MODEL).partition("\n## 9. Claims and their evidence\n")[2].partition("\n## ")[0]
    rows = [line.strip("|\n").split("|") for line in table.splitlines() if line.startswith("|")]
    return [command.strip().strip("`") for _, command in rows[2:]]


def test_commands_that_show_the_claims_exist():
    assert len(evidence()) > 30
    experiments = set(shipped("experiments"))
    for command in evidence():
        python, *words = shlex.split(command)
        assert python == "python", command
        for path in (word for word in words if word.endswith(".py")):
            assert (ROOT / path).is_file(), command
        if words[0] == "-m" and words[1] != "pytest":
            assert (ROOT / f"{words[1].replace('.', '/')}.py").is_file(), command
        if words[:2] == ["-m", "simulation.experiment"]:
            assert words[2] in experiments, command


def constraint_labels():
    tree = ast.parse(text_of(ROOT / "market" / "constraints.py"))
    return {
        keyword.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_labelled"
        for keyword in node.keywords
        if keyword.arg
    }


def cost_terms():
    """Functions that the first stage calls to state its objective."""
    tree = ast.parse(text_of(ROOT / "market" / "first_stage.py"))
    owners = {"obj"}
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in owners
    } - {"quadratic_cost"}


def ledger_items():
    """Items of the settlement."""
    tree = ast.parse(text_of(ROOT / "market" / "settlement.py"))
    return {
        node.args[2].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "pay"
    }


def choices(setting):
    """Values that a setting of the market may have."""
    return set(get_args(Market.model_fields[setting].annotation))


@pytest.mark.parametrize(
    ("names", "least"),
    [
        pytest.param(constraint_labels(), 45, id="constraints"),
        pytest.param(cost_terms(), 11, id="cost terms"),
        pytest.param(ledger_items() | {*CONGESTION_ITEMS, *LOSS_ITEMS}, 18, id="ledger items"),
        pytest.param(set(get_args(MethodName)), 9, id="methods"),
        pytest.param(set(get_args(PricingName)), 5, id="pricing rules"),
        pytest.param(set(get_args(GridModel)), 3, id="grid models"),
        pytest.param(set(get_args(Matching)), 3, id="matching rules"),
        pytest.param(choices("radius_rule"), 3, id="radius rules"),
        pytest.param(choices("coordination"), 3, id="coordinations"),
        pytest.param(choices("second_stage"), 2, id="second stages"),
        pytest.param(set(FALLBACKS), 8, id="fallbacks"),
    ],
)
def test_the_model_leaves_nothing_out(names, least):
    told = set(re.findall(r"`([^`\s]+)`", text_of(MODEL)))
    assert len(names) >= least
    assert sorted(names - told) == []


def test_the_components_of_the_cost_are_described():
    section = re.split(r"\n### [\d.]+ Cost\n", text_of(MODEL))[1].partition("\n### ")[0].lower()
    words = {"dispatchable_fuel": "fuel", "storage_wear": "wear", "network_fees": "fees"}
    words |= {"flexible_discomfort": "discomfort"}
    for component in COMPONENTS:
        assert words.get(component, component.replace("_", " ")) in section


@documents
def test_inline_formulas_survive_markdown(path):
    r"""Between single dollars Markdown takes ``\,`` or ``\{`` for an escaped character."""
    for formula in INLINE_MATH.findall(prose(path)):
        assert not re.search(r"\\[^A-Za-z]", formula), formula
        assert formula == formula.strip(), formula
        assert formula.count("{") == formula.count("}"), formula


@documents
def test_displayed_formulas_are_complete(path):
    for _, language, block in FENCE.findall(text_of(path)):
        if language == "math":
            assert block.count("{") == block.count("}"), block
            assert re.findall(r"\\begin{(\w+)}", block) == re.findall(r"\\end{(\w+)}", block), block
            assert block.count(r"\big(") + block.count(r"\Big(") == block.count(
                r"\big)"
            ) + block.count(r"\Big)"), block
