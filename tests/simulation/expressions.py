"""DynamoDB's update and condition expressions, as far as the code uses them: each is compiled once, for speed.

An item is a dict of names to typed values: ("S", text), ("N", Decimal) or ("SS", frozenset).
"""
# what boto3 and the code under test hand over has many types

import functools
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

Value = tuple[str, Any]
Item = dict[str, Value]
Given = tuple[Mapping[str, str], Mapping[str, Value]]  # names, values
Operand = Callable[[Item, Given], Value | None]
Condition = Callable[[Item, Given], bool]
Action = Callable[[Item, Item, Given], None]  # the item before, the item that is made

_TOKEN = re.compile(r"\s*(:\w+|#\w+|\w+|<>|<=|>=|[=<>(),+\-])")


class ValidationError(Exception):
    """What DynamoDB refuses with ValidationException."""


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        position, text = 0, text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if not match:
                raise ValidationError(text)
            self.tokens.append(match[1])
            position = match.end()
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            raise ValidationError(f"{token!r} instead of {expected!r}")
        self.at += 1
        return token

    def accept(self, word: str) -> bool:
        if self.peek().upper() == word:
            self.at += 1
            return True
        return False

    # Conditions

    def condition(self) -> Condition:
        parts = [self._and()]
        while self.accept("OR"):
            parts.append(self._and())
        if len(parts) == 1:
            return parts[0]
        return lambda item, given: any(part(item, given) for part in parts)

    def _and(self) -> Condition:
        parts = [self._not()]
        while self.accept("AND"):
            parts.append(self._not())
        if len(parts) == 1:
            return parts[0]
        return lambda item, given: all(part(item, given) for part in parts)

    def _not(self) -> Condition:
        if self.accept("NOT"):
            inner = self._not()
            return lambda item, given: not inner(item, given)
        if self.peek() == "(":
            self.take()
            inner = self.condition()
            self.take(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Condition:
        word = self.peek()
        if word in ("attribute_exists", "attribute_not_exists", "contains"):
            self.take()
            self.take("(")
            name = self._name()
            if word == "contains":
                self.take(",")
                sought = self.operand()
                self.take(")")
                return lambda item, given: _contains(item.get(name(given)), sought(item, given))
            self.take(")")
            exists = word == "attribute_exists"
            return lambda item, given: (name(given) in item) is exists
        left = self.operand()
        operator = self.take()
        right = self.operand()
        if operator not in ("=", "<>", "<", "<=", ">", ">="):
            raise ValidationError(operator)
        return lambda item, given: _compare(left(item, given), operator, right(item, given))

    # Operands

    def operand(self) -> Operand:
        token = self.take()
        if token.startswith(":"):
            return lambda item, given: given[1][token]
        if token == "size":
            self.take("(")
            name = self._name()
            self.take(")")
            return lambda item, given: _size(item.get(name(given)))
        self.at -= 1
        path = self._name()
        return lambda item, given: item.get(path(given))

    def _name(self) -> Callable[[Given], str]:
        token = self.take()
        if token.startswith("#"):
            return lambda given: given[0][token]
        if not re.fullmatch(r"[A-Za-z_]\w*", token):
            raise ValidationError(token)
        return lambda given: token

    # Updates

    def update(self) -> list[Action]:
        actions: list[Action] = []
        while self.peek():
            clause = self.take().upper()
            make = {"SET": self._set, "REMOVE": self._remove, "ADD": self._add, "DELETE": self._delete}.get(clause)
            if not make:
                raise ValidationError(clause)
            actions.append(make())
            while self.accept(","):
                actions.append(make())
        return actions

    def _set(self) -> Action:
        name = self._name()
        self.take("=")
        left = self._settable()
        if self.peek() in ("+", "-"):
            sign = 1 if self.take() == "+" else -1
            right = self._settable()

            def calculate(item: Item, made: Item, given: Given) -> None:
                first, second = left(item, given), right(item, given)
                if not first or not second or first[0] != "N" or second[0] != "N":
                    raise ValidationError("an operand is not a number, or not there")
                made[name(given)] = ("N", first[1] + sign * second[1])

            return calculate

        def assign(item: Item, made: Item, given: Given) -> None:
            value = left(item, given)
            if value is None:
                raise ValidationError("an attribute that is not there")
            made[name(given)] = value

        return assign

    def _settable(self) -> Operand:
        if self.peek() != "if_not_exists":
            return self.operand()
        self.take()
        self.take("(")
        name = self._name()
        self.take(",")
        default = self.operand()
        self.take(")")
        return lambda item, given: item.get(name(given)) or default(item, given)

    def _remove(self) -> Action:
        name = self._name()

        def remove(item: Item, made: Item, given: Given) -> None:
            made.pop(name(given), None)

        return remove

    def _add(self) -> Action:
        name, added = self._name(), self.operand()

        def add(item: Item, made: Item, given: Given) -> None:
            value, before = added(item, given), item.get(name(given))
            if value is None or value[0] not in ("N", "SS") or (before and before[0] != value[0]):
                raise ValidationError("ADD takes numbers and sets")
            if before:
                value = (value[0], before[1] + value[1] if value[0] == "N" else before[1] | value[1])
            made[name(given)] = value

        return add

    def _delete(self) -> Action:
        name, deleted = self._name(), self.operand()

        def delete(item: Item, made: Item, given: Given) -> None:
            value, before = deleted(item, given), item.get(name(given))
            if value is None or value[0] != "SS" or (before and before[0] != "SS"):
                raise ValidationError("DELETE takes sets")
            if before:
                left = before[1] - value[1]
                if left:
                    made[name(given)] = ("SS", left)
                else:
                    made.pop(name(given), None)

        return delete


def _compare(left: Value | None, operator: str, right: Value | None) -> bool:
    if left is None or right is None:
        return operator == "<>" and left is not right
    if operator == "=":
        return left == right
    if operator == "<>":
        return left != right
    if left[0] != right[0] or left[0] == "SS":
        return False
    if operator == "<":
        return bool(left[1] < right[1])
    if operator == "<=":
        return bool(left[1] <= right[1])
    return bool(left[1] > right[1] if operator == ">" else left[1] >= right[1])


def _contains(value: Value | None, sought: Value | None) -> bool:
    if value is None or sought is None or value[0] == "N" or sought[0] != "S":
        return False
    return sought[1] in value[1]


def _size(value: Value | None) -> Value | None:
    return None if value is None or value[0] == "N" else ("N", Decimal(len(value[1])))


@functools.cache
def compile_condition(text: str) -> Condition:
    parser = _Parser(text)
    condition = parser.condition()
    if parser.peek():
        raise ValidationError(parser.peek())
    return condition


@functools.cache
def compile_update(text: str) -> list[Action]:
    return _Parser(text).update()


@functools.cache
def touched(update: str) -> frozenset[str]:
    """The names, or the placeholders of names, of the attributes that an update writes."""
    names: set[str] = set()
    parser = _Parser(update)
    at_name = False
    depth = 0
    for token in parser.tokens:
        depth += {"(": 1, ")": -1}.get(token, 0)
        if at_name:
            if token in names:
                raise ValidationError(f"Two document paths overlap: {token}")
            names.add(token)
        at_name = token.upper() in ("SET", "REMOVE", "ADD", "DELETE") or (token == "," and depth == 0)
    return frozenset(names)


@functools.cache
def check(update: str, condition: str, names: frozenset[str], values: frozenset[str]) -> None:
    """Placeholders that are given and not used, or used and not given, are refused; so are reserved words as names."""
    tokens = set(_Parser(update).tokens) | set(_Parser(condition).tokens)
    for sign, given in (("#", names), (":", values)):
        if {token for token in tokens if token.startswith(sign)} != given:
            raise ValidationError(f"placeholders: {sorted(given)}")
    touched(update)
    reserved = {token for token in tokens if token.upper() in _reserved()} - _OPERATORS
    if reserved:
        raise ValidationError(f"reserved: {sorted(reserved)}")


_OPERATORS = {"SET", "REMOVE", "ADD", "DELETE", "AND", "OR", "NOT", "size", "contains"}


@functools.cache
def _reserved() -> frozenset[str]:
    from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords  # noqa: PLC0415  # takes a while

    return frozenset(word.upper() for word in ReservedKeywords.get_reserved_keywords())
