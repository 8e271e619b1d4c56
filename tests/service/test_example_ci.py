# SPDX-License-Identifier: Apache-2.0
"""examples/ci: a job that passes when the routes do, and fails when anything in it does."""
import os
import subprocess

import harness
import pytest
import yaml
from harness import BINARY, ROOT

CI = ROOT / "examples" / "ci"
ORDERS = ROOT / "examples" / "order-status" / "orders.sql"
TEST = CI / "orders_test.sql"


@pytest.fixture(scope="module")
def fresh():
    """A PostgreSQL with nothing in it, as a job has it."""
    cluster = harness.Cluster()
    yield cluster
    cluster.remove()


def run(*command, **environment):
    settings = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    settings |= {"SWITCHBOARD_BIN": BINARY, "SWITCHBOARD_ROLES": ROOT / "scripts" / "roles.sql"}
    return subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={name: str(value) for name, value in (settings | environment).items()})


def check(cluster, *arguments):
    return run(CI / "check.sh", *arguments, PGHOST=cluster.home, PGUSER=cluster.superuser)


def test_the_job_as_the_documentation_has_it():
    done = run("pg_virtualenv", "-v", "15", CI / "check.sh", ORDERS, "--", TEST)
    assert done.returncode == 0, done.stdout
    assert "0001_connections.sql" in done.stdout and "Result: PASS" in done.stdout


def test_it_may_run_again_and_fails_when_something_does(fresh, tmp_path):
    for _ in range(2):
        done = check(fresh, ORDERS, "--", TEST)
        assert done.returncode == 0, done.stdout
    broken = tmp_path / "broken.sql"
    broken.write_text("""
        create or replace function orders."$default"(event switchboard.event)
        returns setof switchboard.delivery
        language sql as $$ select * from switchboard.to_all('{}'::jsonb) $$;""")
    done = check(fresh, ORDERS, broken, "--", TEST)
    assert done.returncode != 0 and "an answer goes to who asked" in done.stdout
    broken.write_text("select 1 / 0;")
    done = check(fresh, broken, "--", TEST)
    assert done.returncode != 0 and "division by zero" in done.stdout
    assert "tests" not in done.stdout


def test_it_says_what_it_wants(fresh):
    for arguments in [], [ORDERS], [ORDERS, "--"]:
        done = check(fresh, *arguments)
        assert (done.returncode, done.stdout) == (
            2, "usage: check.sh SQL_FILE ... -- TEST_FILE ...\n")


def test_the_workflow_runs_that_script_on_this_debian():
    job = yaml.safe_load((CI / "github-actions.yml").read_text())["jobs"]["routes"]
    assert job["container"] == "debian:12"
    commands = [step.get("run", "") for step in job["steps"]]
    assert commands[-1].startswith("pg_virtualenv -v 15 ci/check.sh ")
    for command in commands:
        assert run("bash", "-n", "-c", command).returncode == 0
    # Debian 12 and not Ubuntu: that is what the package is made for.
    assert any("apt-get install" in command and "switchboard.deb" in command
               for command in commands)
