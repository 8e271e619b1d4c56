# SPDX-License-Identifier: Apache-2.0
"""What the benchmark's scenarios are made of: a PostgreSQL of its own, the release build, the load
generator, the references, and the accounting of processes.

The PostgreSQL is one private cluster with everything that makes a commit durable switched on; each
scenario has a database of its own in it, and the reference of a scenario uses the same cluster.
"""
import contextlib
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / os.environ.get("BENCH_BUILD", "bench")
os.environ["SWITCHBOARD_BINARY"] = str(BUILD / "switchboard")
sys.path.insert(0, str(ROOT / "tests" / "service"))
sys.path.insert(0, str(ROOT / "bench"))

import harness  # noqa: E402

# Sized for a machine of a few GB; durable like the defaults.  No checkpoint in the middle of a run.
POSTGRES = (" -c shared_buffers=1GB -c max_wal_size=16GB -c checkpoint_timeout=30min"
            " -c autovacuum_naptime=10s")
PGBENCH = pathlib.Path("/usr/lib/postgresql/15/bin/pgbench")

# Routes of the scenarios: as short as routes are.
ROUTES = """
create schema bench;
create function bench."$settings"() returns jsonb language sql immutable as
    $$ select '{"shared_transactions": true}'::jsonb $$;
create function bench."echo"(event switchboard.event) returns switchboard.delivery
language sql stable as $$ select switchboard.reply(event.body) $$;
create function bench."shout"(event switchboard.event) returns switchboard.delivery
language sql stable as $$ select switchboard.to_topic('bench', event.body) $$;
create function bench."publish"(event switchboard.event) returns switchboard.delivery
language plpgsql as $$
begin
    perform switchboard.publish('bench', event.body);
    return switchboard.reply(event.body);
end;
$$;
-- Confirmed through the log, behind the subscription: from then on the node knows it.
create function bench."subscribe"(event switchboard.event) returns setof switchboard.delivery
language plpgsql as $$
begin
    perform switchboard.subscribe(event.connection_id, 'bench');
    perform switchboard.send_to_connection(event.connection_id, '{"subscribed": true}');
end;
$$;
"""
# The same rows as Switchboard writes, in tables of the same shape without anybody's triggers.
REFERENCE_TABLES = """
create table bench.connections (like switchboard.websocket_connections including all)
    with (fillfactor = 70);
create table bench.published (like switchboard.websocket_outbox including all);
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


def open_files_limit():
    """How many descriptors a process here may have; raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (1048576, 200000, hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            return wanted
    return soft


def many():
    """50,000 connections, or what the limit of open files leaves a single process."""
    return min(50000, open_files_limit() - 1000)


# ---- PostgreSQL ----

class Lab:
    """The cluster and the databases of a run."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="sb-bench-", dir="/tmp")
        self.cluster = harness.Cluster()
        self.cluster.options = POSTGRES
        self.cluster.restart()
        self.cluster.prepare()

    def close(self):
        self.cluster.remove()
        subprocess.run(["rm", "-rf", self.directory], check=False)

    def database(self):
        database = self.cluster.create_database()
        database.execute(ROUTES)
        database.execute(REFERENCE_TABLES)
        database.execute("select switchboard.maintain_partitions(30, 7)")
        return database

    def drop(self, database):
        self.cluster.drop_database(database)

    @contextlib.contextmanager
    def serve(self, database, **settings):
        """`switchboard serve` with the routes above (profile=None: whatever is given)."""
        if database is not None:
            settings.setdefault("profile", "bench")
        server = harness.Server(database, self.directory, log_level="warn",
                                max_connections=1000000, **settings)
        server.start()
        try:
            yield server
        finally:
            server.destroy()

    def pgbench(self, database, script, clients, seconds, **variables):
        """Transactions a second and their latency in ms; the script goes to every client."""
        path = pathlib.Path(self.directory) / "script.sql"
        path.write_text(script)
        command = [str(PGBENCH), "--no-vacuum", "--protocol=prepared", f"--client={clients}",
                   "--jobs=1", f"--time={max(1, round(seconds))}", f"--file={path}"]
        command += [f"--define={name}={value}" for name, value in variables.items()]
        done = subprocess.run(command + [database.owner_url], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=seconds + 60, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"pgbench: {done.stderr[-400:]}")
        return {
            "tps": float(re.search(r"tps = ([\d.]+)", done.stdout).group(1)),
            "count": int(re.search(r"actually processed: (\d+)", done.stdout).group(1)),
        }

    def settle(self, database):
        """Nobody is connected any more, and what the round before left does not disturb the next."""
        harness.wait_for(lambda: database.active() == 0, "nobody is connected", 120)


# ---- programs ----

def arguments(options):
    words = []
    for name, value in options.items():
        words += ["--" + name.replace("_", "-"), str(value)]
    return words


def load(mode, **options):
    """One run of the load generator: its figures.  A wrong or missing frame is the end of all."""
    command = [str(BUILD / "load"), mode, *arguments(options)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=900, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


class Waiting:
    """The load generator in the modes that wait for standard input: listen and idle."""

    def __init__(self, mode, **options):
        self.process = subprocess.Popen([str(BUILD / "load"), mode, *arguments(options)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip()
        if line != "ready":
            raise RuntimeError(f"load {mode} is not ready: {line!r}")

    def expect(self, count):
        self.process.stdin.write(f"expect {count}\n")
        self.process.stdin.flush()
        return json.loads(self._last_line())

    def _last_line(self):
        out, _ = self.process.communicate(timeout=300)
        if self.process.returncode != 0:
            raise RuntimeError("the load generator has found something wrong")
        return out.splitlines()[-1]

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.stdin = None
            self.process.wait(60)


@contextlib.contextmanager
def reference(mode, program="reference", **options):
    """A reference server; gives its port."""
    words = [mode] if mode else []
    process = subprocess.Popen([str(BUILD / program), *words, "--port", "0", *arguments(options)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline().split()
        if line[:1] != ["port"]:
            raise RuntimeError(f"{program} {mode} does not start: {line}")
        yield int(line[1])
    finally:
        process.terminate()
        process.communicate(timeout=30)


def run_json(program, *words, **options):
    command = [str(BUILD / program), *words, *arguments(options)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


# ---- processes ----

def cpu_seconds(pid):
    """Processor time of a process, all its threads, in microseconds' resolution."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def resident_kb(pids):
    total = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total


def wait_quiet(pid, seconds=10.0):
    """Until the process has done nothing to speak of for a second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = cpu_seconds(pid)
        time.sleep(1)
        if cpu_seconds(pid) - before < 0.02:
            return
