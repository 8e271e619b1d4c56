# SPDX-License-Identifier: Apache-2.0
"""The commands of the program."""
import json
import re
import signal
import subprocess

import psycopg2
import pytest
from harness import BINARY, PASSWORD, Server, environment, run_command, wait_for

NOWHERE = "postgresql://nobody@/nothing?host=/nonexistent"


@pytest.fixture
def empty(cluster):
    database = cluster.create_database(migrated=False)
    yield database
    cluster.drop_database(database)


# ---- migrate ----

def test_migrate_makes_everything_and_then_nothing(empty):
    pending = empty.command("migrate", "status", owner=True)
    assert pending.returncode == 0, pending.stderr
    assert "0001_connections.sql" in pending.stdout and "pending" in pending.stdout
    assert empty.value("select to_regclass('switchboard.websocket_connections')") is None
    first = empty.command("migrate", owner=True)
    assert first.returncode == 0, first.stderr
    assert "0001_connections.sql" in first.stdout
    landed = empty.execute("select * from switchboard.schema_migrations order by name")
    second = empty.command("migrate", owner=True)
    assert second.returncode == 0
    assert "0001_connections.sql" not in second.stdout
    assert empty.execute("select * from switchboard.schema_migrations order by name") == landed
    status = empty.command("migrate", "status", owner=True)
    assert "pending" not in status.stdout and "0001_connections.sql" in status.stdout
    parsed = json.loads(empty.command("migrate", "status", "--json", owner=True).stdout)
    assert parsed


def test_two_migrators_at_once_do_not_collide(empty):
    migrators = [subprocess.Popen([BINARY, "migrate"], env=environment(empty.owner_url, {}),
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                 for _ in range(3)]
    for migrator in migrators:
        _, errors = migrator.communicate(timeout=60)
        assert migrator.returncode == 0, errors
    assert empty.value("select count(*) - count(distinct name)"
                       "  from switchboard.schema_migrations") == 0


def test_a_landed_migration_that_has_changed_is_refused_by_name(empty):
    assert empty.command("migrate", owner=True).returncode == 0
    empty.execute("update switchboard.schema_migrations set checksum = repeat('0', 64)"
                  " where name = '0001_connections.sql'")
    done = empty.command("migrate", owner=True)
    assert done.returncode == 1
    assert "0001_connections.sql" in done.stderr
    assert "changed" in empty.command("migrate", "status", owner=True).stdout


def test_a_migration_that_the_program_does_not_know_is_refused_by_name(empty):
    assert empty.command("migrate", owner=True).returncode == 0
    empty.execute("insert into switchboard.schema_migrations (name, version, checksum, applied_at)"
                  " values ('9999_future.sql', 9999, repeat('0', 64), now())")
    done = empty.command("migrate", owner=True)
    assert done.returncode == 1 and "9999_future.sql" in done.stderr


def test_a_changed_function_is_applied_again(empty):
    assert empty.command("migrate", owner=True).returncode == 0
    name = empty.value("select min(name) from switchboard.schema_migrations"
                       " where version is null")
    empty.execute("update switchboard.schema_migrations set checksum = 'old' where name = %s", name)
    done = empty.command("migrate", owner=True)
    assert done.returncode == 0 and name in done.stdout, done.stderr


def test_a_server_on_a_database_without_schema_waits_for_it_and_says_what_to_do(
        empty, start_server):
    server = start_server(empty, wait=False)
    server.wait_line("node.register_failed", "switchboard migrate")
    assert empty.command("migrate", owner=True).returncode == 0
    server.wait_ready()
    assert server.connect().ping() == b"hello"
    assert len(server.lines("node.register_failed")) == 1


# ---- the service role ----

def test_the_service_owns_nothing_and_reads_no_table(database):
    session = psycopg2.connect(database.gateway_url)
    session.autocommit = True
    with session.cursor() as cursor:
        for statement in ("select * from switchboard.websocket_connections",
                          "delete from switchboard.websocket_outbox",
                          "create table switchboard.mine (n integer)",
                          "drop function switchboard.publish(text, jsonb)"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(statement)
        cursor.execute("select count(*) from pg_class where pg_get_userbyid(relowner) ="
                       " current_user")
        assert cursor.fetchone() == (0,)
    session.close()


# ---- the others ----

def test_connections_lists_the_live_ones(server):
    assert json.loads(server.command("connections", "--json").stdout) == []
    clients = [server.connect(f"email=l{n}@example.com") for n in range(3)]
    listed = json.loads(server.command("connections", "--json").stdout)
    assert sorted(one["connection_id"] for one in listed) == sorted(c.id for c in clients)
    assert {one["user_email"] for one in listed} == {f"l{n}@example.com" for n in range(3)}
    text = server.command("connections").stdout
    assert all(client.id in text for client in clients)


def test_config_shows_the_settings_and_masks_the_secrets(database):
    settings = {"jwt_secret": "a-very-secret-key", "port": 4321}
    for arguments in (["config"], ["config", "--json"]):
        done = database.command(*arguments, **settings)
        assert done.returncode == 0
        assert "a-very-secret-key" not in done.stdout and PASSWORD not in done.stdout
        assert "****" in done.stdout and "4321" in done.stdout
    shown = json.loads(done.stdout)
    assert shown["port"] == 4321 and shown["jwt_secret"] == "****"
    assert shown["max_frame_bytes"] == 1048576 and shown["stage"] == "dev"


def test_flags_win_over_the_environment():
    done = run_command(NOWHERE, "config", "--json", "--port", "5000", "--stage=prod", port=4000,
                       stage="env")
    shown = json.loads(done.stdout)
    assert (shown["port"], shown["stage"]) == (5000, "prod")


def test_health_asks_the_running_server(server):
    done = server.command("health")
    assert done.returncode == 0, done.stderr
    server.stop()
    assert server.command("health").returncode == 1


def test_version_and_help_need_no_settings():
    version = run_command(NOWHERE, "version", port="not a number")
    assert version.returncode == 0
    assert re.match(r"^switchboard \d+\.\d+\.\d+", version.stdout)
    for arguments in (["help"], ["--help"], ["serve", "--help"]):
        done = run_command(NOWHERE, *arguments, port="not a number")
        assert done.returncode == 0, done.stderr
        assert "verify-email" in done.stdout and "--max-frame-bytes" in done.stdout


@pytest.mark.parametrize("arguments", [
    [], ["dance"], ["serve", "now"], ["verify-email"], ["verify-email", "a", "b"],
    ["migrate", "sideways"], ["config", "--color"], ["serve", "--port"],
    ["serve", "--port", "abc"], ["serve", "--port=70000"], ["serve", "--log-level", "loud"],
    ["serve", "--stage", "a/b"], ["serve", "--json"]], ids=" ".join)
def test_what_is_not_understood_ends_with_2_and_says_why(arguments):
    done = run_command(NOWHERE, *arguments)
    assert done.returncode == 2
    assert done.stderr.strip() and not done.stdout


@pytest.mark.parametrize("setting, value", [
    ("port", "-1"), ("integration_timeout_ms", "30000"), ("max_message_bytes", "many"),
    ("log_format", "xml"), ("route_selection_expression", "$request.header.x")])
def test_a_bad_setting_is_named(setting, value):
    done = run_command(NOWHERE, "serve", **{setting: value})
    assert done.returncode in (1, 2)
    assert setting in done.stderr.lower()


@pytest.mark.parametrize("arguments", [
    ["migrate"], ["migrate", "status"], ["cleanup"], ["verify-email", "a@example.com"],
    ["connections"]], ids=" ".join)
def test_without_a_database_a_command_fails_with_1_and_one_line(arguments):
    done = run_command(NOWHERE, *arguments)
    assert done.returncode == 1
    assert "/nonexistent" in done.stderr and len(done.stderr.strip().splitlines()) <= 3


def test_two_servers_on_one_port_is_an_error(server, tmp_path):
    second = Server(server.database, tmp_path, port=server.port)
    second.start(wait=False)
    assert second.process.wait(15) == 1
    assert str(server.port) in second.log()
    second.process = None
    second.assert_clean()


def test_a_stop_while_starting_without_a_database_is_clean(tmp_path, database):
    class Nowhere:
        gateway_url = NOWHERE
    server = Server(Nowhere, tmp_path)
    server.start(wait=False)
    server.wait_line("database.away")
    server.process.send_signal(signal.SIGTERM)
    server.wait_end()


def test_the_log_may_be_json(database, start_server):
    server = start_server(database, log_format="json")
    server.connect().close()
    server.stop()
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert {"serve.start", "node.registered", "serve.stopped"} <= {line["event"] for line in lines}
    assert all({"ts", "level", "event"} <= set(line) for line in lines)


def test_serve_prints_what_to_paste(server):
    output = wait_for((server.directory / "output").read_text, "it printed something")
    assert f"ws://127.0.0.1:{server.port}/dev" in output
    assert f"http://127.0.0.1:{server.admin_port}/dev/@connections/{{connectionId}}" in output
    assert f"wscat -c 'ws://127.0.0.1:{server.port}/dev?email=ann@example.com" in output
