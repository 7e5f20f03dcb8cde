"""YAML as plain data: no objects, no key twice, nothing that grows without limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from configs.limits import SEED, SETTINGS_DEPTH, SETTINGS_VALUES

if TYPE_CHECKING:
    from collections.abc import Iterator


class YamlError(ValueError):
    """Text that is not usable YAML; the message tells line, column and what is wrong."""


class _Loader(yaml.SafeLoader):
    """Composes the tree and measures it as it would be with every alias written out."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._level = 0
        self._extent: dict[int, tuple[int, int]] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        is_alias = self.check_event(yaml.AliasEvent)
        self._level += 1
        if self._level > SETTINGS_DEPTH:
            raise _fault(f"more than {SETTINGS_DEPTH} levels", mark)
        node = super().compose_node(parent, index)
        self._level -= 1
        if node is None:
            return None
        if not is_alias:
            _refuse_twice(node)
            inner = [self._extent[id(child)] for child in _children(node)]
            size = 1 + sum(n for n, _ in inner)
            self._extent[id(node)] = size, 1 + max((depth for _, depth in inner), default=0)
        elif id(node) not in self._extent:
            raise _fault("an alias inside of what it stands for", mark)
        size, depth = self._extent[id(node)]
        if size > SETTINGS_VALUES:
            raise _fault(f"more than {SETTINGS_VALUES:,} values, aliases written out", mark)
        if self._level + depth > SETTINGS_DEPTH:
            raise _fault(f"more than {SETTINGS_DEPTH} levels, aliases written out", mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        # A date that no calendar has, a number of too many digits, a tag that does not fit.
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            shown = str(node.value)[:40]
            raise _fault(f"{shown!r} is no value ({error})", node.start_mark) from error
        if isinstance(value, int) and abs(value) > SEED:
            raise _fault(f"{node.value:.40} is too large a number", node.start_mark)
        return value


def parse(text: str) -> Any:
    """Read YAML of one document.

    Parameters
    ----------
    text : str
        The text. Tags that would make objects are unknown.

    Returns
    -------
    mapping, list, str, number, date or None
        Nothing in it is shared, even where the text uses aliases.

    Raises
    ------
    YamlError
        If the text is no YAML, repeats a key, or is larger or deeper than
        :data:`configs.limits.SETTINGS_VALUES` and :data:`configs.limits.SETTINGS_DEPTH`.
    """
    try:
        return _unshared(_Loader(text).get_single_data())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise YamlError(place + ", ".join(filter(None, (error.context, error.problem)))) from error
    except yaml.YAMLError as error:  # characters that no YAML may have
        raise YamlError(" ".join(str(error).split())) from error


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair


def _refuse_twice(node: yaml.Node) -> None:
    """Refuse a key that stands twice in one section; YAML readers would take the last."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in seen:
                raise _fault(f"key {key.value!r} stands twice", key.start_mark)
            seen.add((key.tag, key.value))


def _fault(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, problem, mark)


def _unshared(value: Any) -> Any:
    """Copy what aliases share, so that setting one place leaves the others alone."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_unshared(inner) for inner in value]
    return value
