#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks, or with --write renews, the settings table between the markers in README.md.

    readme_settings.py [--write] <switchboard program>
"""
import pathlib
import subprocess
import sys

README = pathlib.Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- settings -->", "<!-- /settings -->"


def main():
    program = sys.argv[-1]
    text = README.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        print(f"README.md needs {BEGIN} and {END}, once each", file=sys.stderr)
        return 1
    # An empty environment: the table shows defaults, not this machine's settings.
    table = subprocess.run(
        [program, "config", "--markdown"], check=True, capture_output=True, text=True, env={}
    ).stdout.strip()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    current = f"{before}{BEGIN}\n{table}\n{END}{after}"
    if current == text:
        print("README.md: the settings table is current")
        return 0
    if "--write" in sys.argv[1:-1]:
        README.write_text(current, encoding="utf-8")
        print("README.md: settings table renewed")
        return 0
    print("README.md: the settings table is out of date: ./dev fmt renews it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
