"""`make mutants`: run mutmut over the modules that pyproject.toml names, and compare the survivors with mutants.md.

    python tests/mutants.py          run, then compare
    python tests/mutants.py compare  compare the last run, or what was run in .mutants by hand since

mutants.md must list exactly the mutants that no test notices, each with the reason why that is right. A mutant is
identified by its function and the lines that differ, as mutmut's numbers change with every line.
"""

import ast
import difflib
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LISTED = ROOT / "tests" / "mutants.md"
# mutmut names a mutant as the tests import it, so its packages lie side by side in `src`.
FOLDER = ROOT / ".mutants"
KILLED, TIMEOUTS = (1, 3), (-24, 24, 36, 152, 255)  # exit codes of a run of the tests; a timeout is noticed as well


def run() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "functions", FOLDER / "src", ignore=ignored)
    shutil.copytree(ROOT / "tests" / "unit", FOLDER / "tests" / "unit", ignore=ignored)
    shutil.copy(ROOT / "tests" / "conftest.py", FOLDER / "tests")
    shutil.copy(ROOT / "pyproject.toml", FOLDER)
    mutmut = Path(sys.executable).with_name("mutmut")
    subprocess.run([mutmut, "run", "--max-children", "2"], cwd=FOLDER, check=True)


def read_functions(module: Path) -> dict[str, list[str]]:
    """The lines of every function and method of a mutated module, by the name that mutmut gave it."""
    source = module.read_text()
    lines = source.splitlines()
    return {
        node.name: [line.strip().replace(node.name, "") for line in lines[node.lineno - 1 : node.end_lineno]]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    }


def read_mutants() -> Iterator[tuple[str, int | None]]:
    """Each mutant as mutants.md has it, and the exit code of its tests."""
    for meta in sorted(FOLDER.glob("mutants/src/*/*.py.meta")):
        functions = read_functions(meta.with_suffix(""))
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            module, _, mangled = name.rpartition(".")
            function = mangled.partition("__mutmut_")[0]
            original = functions[f"{function}__mutmut_orig"]
            found = list(difflib.ndiff(original, functions[mangled]))
            changed = [line for sign in "-+" for line in found if line.startswith(f"{sign} ")]
            if not changed[-1].startswith("+"):
                changed.append("+ (nothing)")
            yield "\n".join([f"{module}.{function[2:].replace('ǁ', '.')}", *changed]), code


def read_listed(text: str) -> Counter[str]:
    """The mutants of the diffs of mutants.md: the name of a function, then the lines of one or more of its mutants."""
    listed: Counter[str] = Counter()
    function, mutant = "", list[str]()
    for line in [*text.splitlines(), ""]:
        if mutant and mutant[-1].startswith("+") and not line.startswith("+ "):
            listed["\n".join([function, *mutant])] += 1
            mutant = []
        if line.startswith("@@ "):
            function = line.removeprefix("@@ ")
        elif line.startswith(("- ", "+ ")):
            mutant.append(line)
    return listed


def main() -> int:
    began = time.monotonic()
    if sys.argv[1:] != ["compare"]:
        run()
    mutants = list(read_mutants())
    if not mutants or any(code is None for _, code in mutants):
        print("mutmut has not run to its end.")
        return 1
    killed = sum(code in KILLED for _, code in mutants)
    timeouts = sum(code in TIMEOUTS for _, code in mutants)
    survivors = Counter(mutant for mutant, code in mutants if code not in (*KILLED, *TIMEOUTS))
    listed = read_listed(LISTED.read_text())
    for title, some in (("Not noticed", survivors - listed), ("Listed, but noticed", listed - survivors)):
        for mutant in sorted(some.elements()):
            print(f"\n{title}: {mutant}")
    noticed = killed + timeouts
    print(
        f"\n{len(mutants)} mutants: {killed} killed, {timeouts} timeouts, {survivors.total()} survived"
        f" ({noticed / len(mutants):.1%} noticed), {(survivors - listed).total()} of them not listed;"
        f" {time.monotonic() - began:.0f} seconds"
    )
    return survivors != listed


if __name__ == "__main__":
    sys.exit(main())
