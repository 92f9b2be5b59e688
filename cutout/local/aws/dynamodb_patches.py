"""Makes moto's updates of DynamoDB's items faster: see moto_patches.py."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from moto.dynamodb.parsing import ast_nodes, validators
from moto.dynamodb.parsing.validators import ActionCountValidator, OverlappingPathsValidator

Untyped: TypeAlias = Any  # of moto, which has no types

_AST: Untyped = ast_nodes


def replacements() -> Sequence[tuple[object, str, Callable[[Any], object]]]:
    return [
        # Speed: each of moto's ten rules goes through the tree of an expression, and asks each node for its type by
        # isinstance, which is slow for abstract classes.
        (_AST.DepthFirstTraverser, "traverse", lambda _: _traverse),
        # Speed: moto copies the tree that it validates, although each update parses one of its own. For a new item it
        # validates the tree twice; the second time changes nothing, as moto does not let an expression read a key.
        (
            validators,
            "deepcopy",
            lambda original: lambda value: value if isinstance(value, _AST.Node) else original(value),
        ),
    ]


def _traverse(rule: Untyped, root: Untyped) -> Untyped:
    """Applies a rule to the nodes that it is about, leaves first; returns the tree.

    Refuses what moto refuses; of several faults it may name another.
    """
    rules = rule._processing_map()  # noqa: SLF001 moto has no other way
    if isinstance(rule, ActionCountValidator | OverlappingPathsValidator):
        # About the whole of an expression: moto would look at the whole of each of its parts as well.
        (check,) = rules.values()
        return check(root)
    kinds = tuple(rules)

    def walk(node: Untyped, position: int = -1) -> Untyped:
        if not _first_of(type(node), (_AST.Node,)):
            return node
        parent = node.parent
        for number, child in enumerate(node.children or ()):
            rule.pre_processing_of_child(node, number)
            walk(child, number)
        if about := _first_of(type(node), kinds):
            node = rules[about](node)
            node.parent = parent
            if parent:
                parent.children[position] = node
        return node

    return walk(root)


def _find_first(kind: type, kinds: tuple[type, ...]) -> type | None:
    """The first of some types that it is, or inherits from."""
    return next((other for other in kinds if issubclass(kind, other)), None)


_first_of: Untyped = functools.cache(_find_first)
