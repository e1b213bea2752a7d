"""The conditions of a source file that stand between a rewrite and a wrong result, as mutants.

A condition is what decides about a refusal. A statement refuses if it raises, returns a `Refusal`
or `Kept` or a reason and its message, hands on one that it was given, or says no: None from a
function that returns something or None, False from one that returns bool. Conditions are then

- the test of an `if` or of a conditional expression, one side of which refuses;
- the test of an `if` that returns, right before a statement that refuses;
- the refusals asked for one after the other in `f() or g()`;
- the factors of `return a and b` in a function that returns bool;
- the test or the returned value of a statement that carries the comment `# exact: ...`.

A mutant weakens one of them: the whole test, or one operand of it, becomes the constant that lets
the rewrite through; a comparison of three loses one side. Operands are those of `or` where a true
test refuses and of `and` where it permits; `not`, `any` and `all` are looked into.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

EXCUSE = re.compile(r"#\s*not a condition:\s*(\S.*)")
EXACT = re.compile(r"#\s*exact:")
ANSWERS = frozenset({"Refusal", "Kept"})
HANDED_ON = re.compile(r"refus|obstacle", re.IGNORECASE)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Weakening = tuple[ast.expr, str, ast.stmt]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One condition, taken away.

    Attributes:
        path: The file, relative to the root of the checkout.
        line: Where the condition stands, from 1.
        source: The condition's text, on one line.
        replacement: What replaces it.
        start: Offset of its first byte in the file.
        end: Offset behind its last byte.
        excuse: Why its absence cannot be seen, as the source says; empty if it says nothing.
    """

    path: str
    line: int
    source: str
    replacement: str
    start: int
    end: int
    excuse: str

    def applied(self, text: bytes) -> bytes:
        """The file's text without the condition."""
        return text[: self.start] + self.replacement.encode() + text[self.end :]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.source}  ->  {self.replacement}"


def conditions(root: Path, path: str) -> list[Mutant]:
    """Every mutant of a file, in the order of the source; excused ones too."""
    text = (root / path).read_bytes()
    lines = text.splitlines(keepends=True)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    found: dict[tuple[int, int, str], Mutant] = {}
    for part, replacement, statement in _weakened(ast.parse(text), lines):
        start = offsets[part.lineno - 1] + part.col_offset
        end = offsets[(part.end_lineno or part.lineno) - 1] + (part.end_col_offset or 0)
        source = " ".join(text[start:end].decode().split())
        excuse = _excuse(lines, part, statement)
        mutant = Mutant(path, part.lineno, source, replacement, start, end, excuse)
        found.setdefault((start, end, replacement), mutant)
    return sorted(found.values(), key=lambda mutant: (mutant.start, -mutant.end))


def _excuse(lines: list[bytes], part: ast.expr, statement: ast.stmt) -> str:
    """The reason given on the operand's own lines, on the statement's first, or right above it."""
    own = range(part.lineno, (part.end_lineno or part.lineno) + 1)
    for number in (*own, statement.lineno):
        if match := EXCUSE.search(lines[number - 1].decode()):
            return match[1].strip()
    above = lines[statement.lineno - 2].decode().strip() if statement.lineno > 1 else ""
    match = EXCUSE.match(above)
    return match[1].strip() if match else ""


def _weakened(tree: ast.Module, lines: list[bytes]) -> Iterator[Weakening]:
    """(expression, the source that weakens it, its statement) for every mutant."""
    for statement, function, follower in _statements(tree.body, None):
        refuses = _refuser(function)
        if isinstance(statement, ast.If):
            alternative = statement.orelse or ([follower] if follower else [])
            if _ends(statement.body, refuses, statement.test):
                yield from _parts(statement.test, False, statement)
            elif _leaves(statement.body) or statement.orelse:
                if _ends(alternative, refuses, statement.test):
                    yield from _parts(statement.test, True, statement)
            elif EXACT.search(lines[statement.lineno - 1].decode()):
                yield from _parts(statement.test, True, statement)
            yield from _within(statement.test, refuses, statement, function)
        else:
            yield from _within(statement, refuses, statement, function)
            marked = EXACT.search(lines[statement.lineno - 1].decode())
            decides = marked or _annotation(function) == "bool"
            if isinstance(statement, ast.Return) and statement.value is not None and decides:
                yield from _operands(statement.value, True, statement)


def _statements(
    body: list[ast.stmt], function: Function | None
) -> Iterator[tuple[ast.stmt, Function | None, ast.stmt | None]]:
    """Every statement with the function it is in and the statement behind it."""
    for statement, follower in zip(body, [*body[1:], None], strict=False):
        inside = statement if isinstance(statement, Function) else function
        if not isinstance(statement, Function | ast.ClassDef):
            yield statement, function, follower
        for field in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, field, []), inside)
        for part in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
            yield from _statements(part.body, inside)


def _annotation(function: Function | None) -> str:
    return ast.unparse(function.returns) if function and function.returns else ""


def _refuser(function: Function | None) -> Callable[[ast.expr, ast.expr | None], bool]:
    """Whether a returned expression refuses, given the test that led there."""
    annotation = _annotation(function)
    no: list[object] = [False] if annotation == "bool" else []
    # Where None is not the answer no, it is the answer that nothing stands against it.
    objection = rf"({'|'.join(ANSWERS)}|tuple\[str, str\]) \| None"
    if "None" in annotation and not re.fullmatch(objection, annotation):
        no.append(None)

    def refuses(value: ast.expr, test: ast.expr | None) -> bool:
        if isinstance(value, ast.Constant):
            return any(value.value is word for word in no)
        if isinstance(value, ast.Name):
            return bool(HANDED_ON.search(value.id)) or value.id in _tested(test)
        if isinstance(value, ast.Tuple):
            return "tuple[str, str]" in annotation
        return isinstance(value, ast.Call) and (
            _name(value.func) in ANSWERS or bool(HANDED_ON.search(_name(value.func)))
        )

    return refuses


def _tested(test: ast.expr | None) -> set[str]:
    """Names that `isinstance(name, Refusal)` asks about."""
    return {
        call.args[0].id
        for call in (ast.walk(test) if test is not None else ())
        if isinstance(call, ast.Call) and _name(call.func) == "isinstance"
        if isinstance(call.args[0], ast.Name)
        if any(answer in ast.unparse(call.args[1]) for answer in ANSWERS)
    }


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _ends(
    body: list[ast.stmt], refuses: Callable[[ast.expr, ast.expr | None], bool], test: ast.expr
) -> bool:
    """Whether a block ends in a statement that refuses."""
    if not body:
        return False
    last = body[-1]
    if isinstance(last, ast.Return) and last.value is not None:
        value = last.value
        # `return found or Refusal(...)` and `return (Refusal(...) if ... else ...)` refuse too.
        parts = value.values if isinstance(value, ast.BoolOp) else [value]
        return any(refuses(part, test) for part in parts)
    return isinstance(last, ast.Raise)


def _leaves(body: list[ast.stmt]) -> bool:
    return isinstance(body[-1], ast.Return)


def _within(
    node: ast.AST,
    refuses: Callable[[ast.expr, ast.expr | None], bool],
    statement: ast.stmt,
    function: Function | None,
) -> Iterator[Weakening]:
    """Conditional expressions and chains of refusals in one statement, not in its blocks."""
    if isinstance(node, ast.IfExp):
        if refuses(node.body, node.test):
            yield from _parts(node.test, False, statement)
        elif refuses(node.orelse, node.test):
            yield from _parts(node.test, True, statement)
    last = node.values[-1] if isinstance(node, ast.BoolOp) else None
    answers = "Refusal" in _annotation(function) and not isinstance(last, ast.Constant)
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and answers:
        for value in node.values:
            # What a `return` ends in is the result, not a condition, unless only refusals return.
            result = value is last and "Refusal | None" not in _annotation(function)
            asked = isinstance(value, ast.Call) or refuses(value, None)
            if asked and not (result and isinstance(statement, ast.Return)):
                yield value, "False", statement
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _within(child, refuses, statement, function)


def _parts(test: ast.expr, permits: bool, statement: ast.stmt) -> Iterator[Weakening]:
    yield test, str(permits), statement
    yield from _operands(test, permits, statement)


def _operands(test: ast.expr, permits: bool, statement: ast.stmt) -> Iterator[Weakening]:
    """The operands of a test that can go one by one; `permits` is the value that lets through."""
    match test:
        case ast.Compare(ops=[_, _]) if permits:
            middle, right = test.comparators
            yield test, ast.unparse(ast.Compare(middle, test.ops[1:], [right])), statement
            yield test, ast.unparse(ast.Compare(test.left, test.ops[:1], [middle])), statement
        case ast.BoolOp():
            separable = isinstance(test.op, ast.And) == permits
            for value in test.values:
                if separable:
                    yield value, str(permits), statement
                yield from _operands(value, permits, statement)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield from _operands(operand, not permits, statement)
        case ast.Call(func=ast.Name(id="any" | "all"), args=[ast.GeneratorExp(elt=element)]):
            yield from _operands(element, permits, statement)
        case _:
            pass
