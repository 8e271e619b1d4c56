# SPDX-License-Identifier: Apache-2.0
"""The rows that need no peers, for a moment: they run to their end, and every frame was right.  What
they measure here, with sanitizers and in company, says nothing."""
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import bench as program  # noqa: E402
import lab  # noqa: E402
import report  # noqa: E402
import scenarios  # noqa: E402

ROWS = {row["name"]: row for row in scenarios.ROWS}


@pytest.fixture(scope="module")
def bench():
    one = lab.Lab()
    yield one
    one.close()


@pytest.mark.parametrize("name", ["storm-route", "storm", "echo-sql", "publish-client",
                                  "publish-sql", "latency", "sender"])
def test_a_row_runs_and_is_judged(bench, monkeypatch, name):
    monkeypatch.setattr(scenarios, "STORM", 300)
    row = ROWS[name]
    judged = program.judge(row, program.measure(bench, row, rounds=1, seconds=1))
    assert judged["name"] == name and all(value > 0 for value in judged["medians"].values())
    assert [target["ratio"] > 0 for target in judged["targets"]] == [True] * len(row["targets"])


def test_the_table_and_the_plot_have_every_target():
    row = ROWS["storm"]
    results = [{"ours": 20.0, "pgbench": 10.0, "bare": 1.0, "p50_ms": 1.0, "p99_ms": 6.0,
                "bare_p99_ms": 2.0}]
    run = {"about": {"date": "2000-01-01", "commit": "abc", "processor": "one", "rounds": 1,
                     "seconds": 1, "peers": {}}, "rows": [program.judge(row, results)]}
    table = report.table(run)
    assert "2.00 x | ≥ 2 x | yes" in table and "3.00 x | ≤ 2 x | no" in table
    assert report.plot(run).count("<rect") == 1 + len(row["targets"])


def test_every_row_has_a_name_of_its_own():
    assert len(ROWS) == len(scenarios.ROWS)
