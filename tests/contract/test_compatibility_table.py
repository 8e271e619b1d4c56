# SPDX-License-Identifier: Apache-2.0
"""docs/compatibility.md and these tests say the same, so that the table cannot rot."""
import ast
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TABLE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")


def names_in(path):
    """The names of the tests of a file, by what Python reads, not by importing it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            and node.name.startswith("test_")}


def existing():
    return {f"{path.name}::{name}" for path in HERE.glob("test_*.py") for name in names_in(path)}


def mentioned():
    return set(re.findall(r"`(test_\w+\.py::test_\w+)`", TABLE))


def rows():
    """The cells of each row, headings left out."""
    for line in TABLE.splitlines():
        if line.startswith("| ") and not line.startswith("| API Gateway |"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) > 2:  # the two lists of words above the table
                yield line, cells


def test_every_test_that_the_table_names_exists():
    assert mentioned(), "the table names no test"
    assert sorted(mentioned() - existing()) == []


def test_every_test_that_is_named_after_a_line_is_in_the_table():
    numbered = {test for test in existing() if re.search(r"::test_(line_)?\d", test)}
    assert sorted(numbered - mentioned()) == []


def test_every_other_file_that_the_table_names_exists():
    files = re.findall(r"`(tests/[\w/.]+\.\w+)`", TABLE)
    assert [name for name in files if not (ROOT / name).is_file()] == []


def test_every_row_has_a_source_a_verdict_and_a_proof():
    words = {"measured", "documented", "reported", "unknown"}
    found = list(rows())
    assert len(found) > 150
    for line, cells in found:
        assert len(cells) == 4, line
        assert set(cells[1].split("<br>")) <= words, line
        assert re.search(r"\*\*(same|stricter|different|open)\*\*|no such thing on AWS", cells[2]), line
        assert re.search(r"`test|no test: ", cells[3]), line


def test_what_is_unknown_on_aws_is_not_called_the_same():
    for line, cells in rows():
        if cells[1] == "unknown":
            assert not cells[2].startswith("**same**"), line
