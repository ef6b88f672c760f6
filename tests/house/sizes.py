"""How long files and functions are: a file over 300 lines or a function over 40 is a question."""

import ast
from statistics import median

from .code import SOURCE, parse

FILE, FUNCTION = 300, 40


def lengths() -> tuple[dict[str, int], dict[str, int]]:
    """Return the lines of each file and of each function (docstring and signature apart)."""
    files, functions = {}, {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = str(path.relative_to(SOURCE))
        files[name] = len(path.read_text(encoding="utf-8").splitlines())
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef):
                functions[f"{name}:{node.lineno} {node.name}"] = _body_lines(node)
    return files, functions


def size_table() -> str:
    """Return the table as text: totals, then what is over the line."""
    files, functions = lengths()
    lines = [_summary("files", files, FILE), _summary("functions", functions, FUNCTION)]
    for sizes, limit in ((files, FILE), (functions, FUNCTION)):
        over = sorted(((n, name) for name, n in sizes.items() if n > limit), reverse=True)
        lines += [f"  {n:4d}  {name}" for n, name in over]
    return "\n".join(lines)


def _summary(what: str, sizes: dict[str, int], limit: int) -> str:
    over = sum(n > limit for n in sizes.values())
    middle = median(sizes.values())
    return (
        f"{len(sizes)} {what}, {sum(sizes.values())} lines, median {middle:g}, {over} over {limit}"
    )


def _body_lines(node: ast.FunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return node.end_lineno - body[0].lineno + 1 if body and node.end_lineno else 0
