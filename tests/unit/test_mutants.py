"""What `make mutants` compares: the mutants in mutmut's folder with the list."""

import json
from pathlib import Path

import pytest

from tests import mutants

MODULE = """
def xǁBoxǁ_open__mutmut_orig(self, wide=False):
    return f(
        1,
        2,
    )
def xǁBoxǁ_open__mutmut_1(self, wide=True):
    return f(
        1,
        2,
    )
def xǁBoxǁ_open__mutmut_2(self, wide=False):
    return f(
        1,
    )
"""
LISTED = """
Some words.

@@ package.module.Box._open
- def (self, wide=False):
+ def (self, wide=True):
- 2,
+ (nothing)
"""


def test_a_mutant_is_known_by_its_function_and_the_lines_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "mutants" / "src" / "package" / "module.py"
    module.parent.mkdir(parents=True)
    module.write_text(MODULE)
    codes = {"package.module.xǁBoxǁ_open__mutmut_1": 1, "package.module.xǁBoxǁ_open__mutmut_2": 0}
    module.with_suffix(".py.meta").write_text(json.dumps({"exit_code_by_key": codes}))
    monkeypatch.setattr(mutants, "FOLDER", tmp_path)
    found = dict(mutants.read_mutants())
    assert list(found.values()) == [1, 0]
    assert mutants.read_listed(LISTED) == dict.fromkeys(found, 1)
