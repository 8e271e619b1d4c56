#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures Switchboard against what people would pick instead, and against the limits of the machine.

    ./dev bench [--rounds N] [--seconds S] [--only NAME,...] [--list] [--write]

Every figure is a ratio between two medians' rounds: in each round ours and its references run in
turn, the ratio is taken round by round, and the median of these is quoted.  --write puts the table
and the plot into bench/results/ and the table into the README.
"""
import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys

import lab
import peers
import report
import scenarios


def options_of(row):
    return {name: lab.many() if value == "many" else value
            for name, value in row["options"].items()}


def measure(bench, row, rounds, seconds):
    """The figures of each round, as a list of dictionaries."""
    results = []
    with row["scenario"](bench, seconds, **options_of(row)) as one_round:
        for number in range(rounds):
            results.append(one_round())
            lab.say(f"   {number + 1}: " + "  ".join(
                f"{name} {value:,.1f}" for name, value in results[-1].items()))
    return results


def ratios(results, figure, of):
    return [one[figure] / (one[of] if of else 1) for one in results]


def judge(row, results):
    """What the table says of this row."""
    judged = []
    for figure, of, relation, wanted, reference in row["targets"]:
        values = ratios(results, figure, of)
        middle = statistics.median(values)
        is_met = middle >= wanted if relation == ">=" else middle <= wanted
        judged.append({"figure": figure, "of": of, "relation": relation, "wanted": wanted,
                       "reference": reference, "ratio": middle, "least": min(values),
                       "most": max(values), "met": is_met})
    medians = {name: statistics.median(one[name] for one in results) for name in results[0]}
    return {"name": row["name"], "commit": commit(), "what": row["what"].replace("{many}", f"{lab.many():,}"),
            "unit": row["unit"], "medians": medians, "rounds": results, "targets": judged}


def git(*words):
    return subprocess.run(["git", "-C", str(lab.ROOT), *words], stdout=subprocess.PIPE, text=True,
                          check=False).stdout.strip()


def commit():
    """What the benchmark itself has written does not make it another tree."""
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!README.md",
                  ":!bench/results")
    name = git("describe", "--always", "--exclude=*")
    return name + ("-dirty" if changed else "") if name else "unknown"


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "unknown"


def about(arguments):
    versions = {peer.name: peer().version for peer in (
        peers.Nchan, peers.NodeWs, peers.ServerlessOffline)}
    return {"date": datetime.date.today().isoformat(), "commit": commit(),
            "processor": f"{os.cpu_count()} cores, {processor()}", "rounds": arguments.rounds,
            "seconds": arguments.seconds, "peers": versions}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--only", help="names of rows, separated by commas")
    parser.add_argument("--list", action="store_true", help="the names of the rows")
    parser.add_argument("--write", action="store_true", help="bench/results/ and the README")
    arguments = parser.parse_args()
    if arguments.list:
        for row in scenarios.ROWS:
            print(f"{row['name']:18} {row['what'].replace('{many}', f'{lab.many():,}')}")
        return 0
    wanted = arguments.only.split(",") if arguments.only else [r["name"] for r in scenarios.ROWS]
    unknown = set(wanted) - {row["name"] for row in scenarios.ROWS}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    lab.open_files_limit()
    peers.install()
    judged = []
    bench = lab.Lab()
    try:
        for row in scenarios.ROWS:
            if row["name"] in wanted:
                lab.say(f"== {row['name']}: {row['what'].replace('{many}', f'{lab.many():,}')}")
                judged.append(judge(row, measure(bench, row, arguments.rounds, arguments.seconds)))
                lab.say(report.line(judged[-1]))
    finally:
        bench.close()
    run = {"about": about(arguments), "rows": judged}
    if arguments.write:
        report.write(run)
    print(report.table(run))
    missed = [row["name"] for row in judged if not all(t["met"] for t in row["targets"])]
    print(f"{len(judged) - len(missed)} of {len(judged)} rows reach all of their targets"
          + (f"; not: {', '.join(missed)}" if missed else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
