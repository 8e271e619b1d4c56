#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks, or with --write renews, the tables of variables and outputs in terraform's READMEs.

    terraform_readmes.py [--write]
    terraform_readmes.py --variables <variables.tf> <file.tfvars>   the file's names are declared
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent / "terraform"
TITLES = {
    "variable": "| variable | type | default | what it is |\n|---|---|---|---|",
    "output": "| output | what it is |\n|---|---|",
}
OPEN, CLOSE = "([{", ")]}"


def blocks(folder, kind):
    """(name, text) of the blocks of one kind; `terraform fmt` sees to braces in the first column."""
    pattern = re.compile(r'^%s "([^"]+)" \{\n(.*?)^\}' % kind, re.M | re.S)
    return [
        match.groups()
        for path in sorted(folder.glob("*.tf"))
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    ]


def argument(text, name):
    """An argument's expression, on one line; None when it is not given."""
    match = re.search(r"^  %s +=" % name, text, re.M)
    if not match:
        return None
    depth, is_quoted, end = 0, False, match.end()
    for end in range(match.end(), len(text)):
        char = text[end]
        if char == '"' and text[end - 1] != "\\":
            is_quoted = not is_quoted
        elif is_quoted:
            continue
        elif char in OPEN:
            depth += 1
        elif char in CLOSE:
            depth -= 1
        elif char == "\n" and depth == 0:
            break
    value = " ".join(text[match.end() : end].split())
    value = re.sub(r"(?<=[a-z0-9)\]}]) (?=[a-z_0-9]+ = )", ", ", value)
    return value.replace("({ ", "({").replace(", })", "})").replace(" })", "})")


def code(value):
    return "`%s`" % value.replace("|", "\\|")


def row(kind, name, text):
    description = argument(text, "description")
    if not description or len(description) < 3:
        raise ValueError(f'{kind} "{name}" has no description')
    description = description[1:-1].replace('\\"', '"').replace("|", "\\|")
    # Markdown would take <...> for a tag.
    description = description.replace("<", "&lt;")
    if kind == "output":
        return f"| `{name}` | {description} |"
    if not argument(text, "type"):
        raise ValueError(f'variable "{name}" has no type')
    default = argument(text, "default")
    default = code(default) if default is not None else "required"
    return f"| `{name}` | {code(argument(text, 'type'))} | {default} | {description} |"


def unused(folder):
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.tf"))
    for name, _ in blocks(folder, "variable"):
        own = re.search(r'^variable "%s" \{.*?^\}' % name, text, re.M | re.S).group(0)
        if not re.search(r"\bvar\.%s\b" % name, text.replace(own, "")):
            yield name


def renewed(folder, readme):
    for kind, title in TITLES.items():
        begin, end = f"<!-- {kind}s -->", f"<!-- /{kind}s -->"
        if readme.count(begin) != 1 or readme.count(end) != 1:
            raise ValueError(f"README.md needs {begin} and {end}, once each")
        rows = [row(kind, name, text) for name, text in blocks(folder, kind)]
        head, rest = readme.split(begin)
        table = "\n".join([title, *rows])
        readme = f"{head}{begin}\n{table}\n{end}{rest.split(end)[1]}"
    return readme


def check(folder, is_writing):
    path = folder / "README.md"
    try:
        for name in unused(folder):
            raise ValueError(f'variable "{name}" is used nowhere')
        current = path.read_text(encoding="utf-8") if path.exists() else ""
        wanted = renewed(folder, current)
    except ValueError as error:
        print(f"{path.parent}: {error}", file=sys.stderr)
        return False
    if wanted == current:
        return True
    if is_writing:
        path.write_text(wanted, encoding="utf-8")
        return True
    print(f"{path}: out of date, scripts/terraform_readmes.py --write renews it", file=sys.stderr)
    return False


def check_mentions():
    """Every module and every example is in the root's README and has one of its own."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    is_good = True
    for folder in sorted([*ROOT.glob("modules/*/"), *ROOT.glob("examples/*/")]):
        name = folder.relative_to(ROOT).as_posix()
        if f"({name}/README.md)" not in text or not (folder / "README.md").exists():
            print(f"terraform/README.md: no link to {name}/README.md, or it is missing", file=sys.stderr)
            is_good = False
    return is_good


def check_values(variables, values):
    declared = set(re.findall(r'^variable "([^"]+)"', variables.read_text(encoding="utf-8"), re.M))
    unknown = set(re.findall(r"^(\w+) +=", values.read_text(encoding="utf-8"), re.M)) - declared
    for name in sorted(unknown):
        print(f"{values}: there is no variable {name}", file=sys.stderr)
    return not unknown


def main():
    arguments = sys.argv[1:]
    if arguments[:1] == ["--variables"]:
        return 0 if check_values(*map(pathlib.Path, arguments[1:])) else 1
    folders = [ROOT, *sorted(ROOT.glob("modules/*/"))]
    results = [check(folder, arguments == ["--write"]) for folder in folders]
    return 0 if all(results) and check_mentions() else 1


if __name__ == "__main__":
    sys.exit(main())
