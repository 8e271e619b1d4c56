# SPDX-License-Identifier: Apache-2.0
"""The table and the plot of a run, in bench/results/ and in the README."""
import json
import pathlib
import re
from xml.sax.saxutils import escape

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def ratio_text(target):
    if target["of"] is None:
        return f"{target['ratio']:.2f} {target['reference']}"
    return f"{target['ratio']:.2f} x"


def wanted_text(target):
    sign = "≥" if target["relation"] == ">=" else "≤"
    unit = f" {target['reference']}" if target["of"] is None else " x"
    return f"{sign} {target['wanted']:g}{unit}"


def line(row):
    return "   " + "; ".join(
        f"{ratio_text(t)} {'' if t['of'] is None else t['reference']} (wanted {wanted_text(t)},"
        f" {t['least']:.2f}-{t['most']:.2f}){'' if t['met'] else ' MISSED'}"
        for t in row["targets"])


def table(run):
    lines = ["| what | measured | against | ratio | wanted | |", "|---|---|---|---|---|---|"]
    for row in run["rows"]:
        for index, target in enumerate(row["targets"]):
            what = row["what"] if index == 0 else ""
            measured = f"{number(row['medians'][target['figure']])} {row['unit']}"
            if target["figure"].endswith("ms"):
                measured = f"{number(row['medians'][target['figure']])} ms"
            against = target["reference"] if target["of"] else ""
            if target["of"]:
                against += f" ({number(row['medians'][target['of']])})"
            lines.append(f"| {what} | {measured} | {against} | {ratio_text(target)} |"
                         f" {wanted_text(target)} | {'yes' if target['met'] else 'no'} |")
    return "\n".join(lines)


# ---- the plot ----

WIDTH, LEFT, BAR, GAP, TOP = 980, 470, 16, 6, 54
SPAN = 420  # pixels from a ratio of 0 to twice what is wanted


def share(target):
    """How much of what is wanted is reached; 1 is just enough."""
    if target["relation"] == ">=":
        return target["ratio"] / target["wanted"]
    return target["wanted"] / target["ratio"] if target["ratio"] > 0 else 2


def plot(run):
    bars = [(row, target) for row in run["rows"] for target in row["targets"]]
    height = TOP + len(bars) * (BAR + GAP) + 30
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
           ' font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
           f'<text x="12" y="20" font-size="15" fill="#111">Switchboard against its references,'
           f' {run["about"]["date"]}, commit {escape(run["about"]["commit"])}</text>',
           '<text x="12" y="38" fill="#555">How much of what is wanted is reached; the line is'
           ' just enough, bars end at twice that</text>']
    for index, (row, target) in enumerate(bars):
        y = TOP + index * (BAR + GAP)
        reached = min(share(target), 2)
        colour = "#2f7d4f" if target["met"] else "#b5442e"
        label = f"{row['name']} / {target['reference']}"
        out.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end" fill="#222">'
                   f'{escape(label)}</text>')
        out.append(f'<rect x="{LEFT}" y="{y}" width="{reached * SPAN / 2:.1f}" height="{BAR}"'
                   f' fill="{colour}"/>')
        out.append(f'<text x="{LEFT + reached * SPAN / 2 + 5:.1f}" y="{y + 12}" fill="#222">'
                   f'{escape(ratio_text(target))}</text>')
    middle = LEFT + SPAN / 2
    out.append(f'<line x1="{middle}" x2="{middle}" y1="{TOP - 6}" y2="{height - 26}"'
               ' stroke="#111" stroke-dasharray="4 3"/>')
    out.append("</svg>")
    return "\n".join(out) + "\n"


# ---- files ----

def heading(run):
    about = run["about"]
    versions = ", ".join(about["peers"].values())
    commits = list(dict.fromkeys(row.get("commit", about["commit"]) for row in run["rows"]))
    commits = ", ".join(f"`{commit}`" for commit in commits)
    rounds = sorted({len(row["rounds"]) for row in run["rows"]})
    rounds = f"{rounds[0]} to {rounds[-1]}" if len(rounds) > 1 else f"{rounds[0]}"
    return (f"Measured on {about['date']} at commit {commits} on {about['processor']},"
            f" the clients on the same processors: medians of {rounds} rounds of"
            f" {about['seconds']:g} s, ours and its references in turn. Against {versions}.")


def write_readme(run):
    path = ROOT / "README.md"
    text = path.read_text()
    begin, end = "<!-- figures -->\n", "<!-- /figures -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"README.md has no {begin.strip()}")
    new = f"{begin}{heading(run)}\n\n{table(run)}\n{end}"
    path.write_text(pattern.sub(lambda _: new, text))


def merge(run):
    """Rows that were not measured this time stay as they were, with the commit that they are of."""
    path = RESULTS / "latest.json"
    before = json.loads(path.read_text()) if path.exists() else {"rows": []}
    now = {row["name"]: row for row in run["rows"]}
    rows = [now.pop(row["name"], {"commit": before["about"]["commit"], **row})
            for row in before["rows"]]
    return {**run, "rows": rows + list(now.values())}


def write(run):
    RESULTS.mkdir(exist_ok=True)
    run = merge(run)
    (RESULTS / "latest.json").write_text(json.dumps(run, indent=1) + "\n")
    (RESULTS / "latest.md").write_text(f"# Figures\n\n{heading(run)}\n\n{table(run)}\n")
    (RESULTS / "latest.svg").write_text(plot(run))
    write_readme(run)
