#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the layers of src/: who may include whom, and which file owns which library.

A file includes its own layer or a lower one; there are no cycles; each third-party header is
included by one file only; each source file is in CMakeLists.txt.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SRC = ROOT / "src"

# Files named after a module with a suffix (backend_connect.c, pg_rows.c) belong to its layer.
LAYERS = {
    0: "base buf log embedded",
    1: "base64url crypto event http_head route json json_path config messages metrics loop expiry "
       "pgarray profile rate_limit authorizer lambda_response request_context request_line mapping "
       "selection expression template cloudwatch incoming extensions frame frame_reader inflater "
       "idempotency",
    2: "pg store migrate auth jwks jwks_source http_client api sigv4 access_log secrets "
       "database_auth",
    3: "connections delivery follower replay sender",
    4: "backend gateway integration node stateless",
    5: "listener rejection websocket http lambda",
    6: "commands serve backend_serve main",
}

LIBRARIES = {
    r"uv\.h": "loop",
    r"(cjson/)?cJSON\.h": "json",
    r"(postgresql/)?libpq-fe\.h": "pg",
    r"microhttpd\.h": "http",
    r"openssl/.*": "crypto",
    r"ut(hash|list|array)\.h": "connections",
    r"curl/.*": "http_client",
    r"zlib\.h": "inflater",
}

# Everything else in angle brackets has to be part of the C library or Linux.
SYSTEM = re.compile(
    r"(arpa|net|netinet|sys|linux)/\w+\.h|"
    r"(assert|ctype|dirent|errno|fcntl|float|getopt|grp|inttypes|limits|locale|math|malloc|netdb|"
    r"poll|pthread|pwd|regex|signal|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|"
    r"stdnoreturn|string|strings|syslog|time|unistd)\.h"
)
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)

LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names.split()}


def module_of(stem):
    """The longest module name that the stem is, or begins with before an underscore."""
    while stem not in LAYER_OF and "_" in stem:
        stem = stem.rpartition("_")[0]
    return stem if stem in LAYER_OF else None


def find_cycle(graph):
    done = set()

    def visit(node, path):
        if node in path:
            return path[path.index(node):] + [node]
        if node in done:
            return None
        for below in sorted(graph.get(node, ())):
            cycle = visit(below, path + [node])
            if cycle:
                return cycle
        done.add(node)
        return None

    for start in sorted(graph):
        cycle = visit(start, [])
        if cycle:
            return cycle
    return None


def main():
    problems = []
    graph = {}
    owners = {}
    files = sorted(list(SRC.glob("*.c")) + list(SRC.glob("*.h")))
    for path in files:
        module = module_of(path.stem)
        if module is None:
            problems.append(f"{path.name}: in no layer (scripts/check_layers.py)")
            continue
        for bracket, header in INCLUDE.findall(path.read_text(encoding="utf-8")):
            if bracket == '"':
                other = module_of(pathlib.Path(header).stem)
                if not (SRC / header).is_file() or other is None:
                    problems.append(f'{path.name}: "{header}" is not one of ours')
                elif LAYER_OF[other] > LAYER_OF[module]:
                    problems.append(
                        f"{path.name} (layer {LAYER_OF[module]}) includes {header} "
                        f"(layer {LAYER_OF[other]})"
                    )
                elif other != module:
                    graph.setdefault(module, set()).add(other)
                continue
            owner = next((o for p, o in LIBRARIES.items() if re.fullmatch(p, header)), None)
            if owner:
                owners.setdefault(owner, set()).add(path.name)
                if path.name != f"{owner}.c":
                    problems.append(f"{path.name}: <{header}> belongs to {owner}.c alone")
            elif not SYSTEM.fullmatch(header):
                problems.append(f"{path.name}: <{header}> is in no module's list of libraries")
    cycle = find_cycle(graph)
    if cycle:
        problems.append("cycle: " + " -> ".join(cycle))
    listed = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    for path in files:
        if path.suffix == ".c" and f"src/{path.name}" not in listed:
            problems.append(f"{path.name} is not in CMakeLists.txt")
    for problem in problems:
        print(f"check_layers: {problem}", file=sys.stderr)
    print(f"check_layers: {len(files)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
