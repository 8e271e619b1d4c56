# SPDX-License-Identifier: Apache-2.0
"""Fixtures: one PostgreSQL for the run, one database for a test (or a module), servers on it.

--topology lambda: the servers are gateway and function (tests/lambda/topology.py), for the tests that
are about what clients see.
"""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import harness  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--topology", choices=["node", "lambda"], default="node",
                     help="what the tests of profiles talk to")


def topology(config):
    """The module with Server and Database."""
    if config.getoption("topology", "node") == "node":
        return harness
    sys.path[:0] = [str(harness.ROOT / "tests" / name) for name in ("lambda", "contract")]
    import topology as module
    return module


def pytest_collection_modifyitems(config, items):
    module = topology(config)
    for item in items if module is not harness else ():
        reason = module.NOT_IN_A_FUNCTION.get(item.originalname)
        if reason:
            item.add_marker(pytest.mark.skip(reason=f"not in a function: {reason}"))


def pytest_configure(config):
    if not os.access(harness.BINARY, os.X_OK):
        raise pytest.UsageError(f"{harness.BINARY} is not there: build it with ./dev build dev")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call" and report.failed:
        item.has_failed = True


def show_logs(servers):
    for server in servers:
        print(f"---- the end of {server.directory / 'log'}")
        print(server.log()[-6000:])


def create_database(cluster, config):
    database = cluster.create_database()
    return topology(config).Database(cluster, database.name)


@pytest.fixture(scope="session")
def cluster():
    cluster = harness.Cluster()
    try:
        cluster.prepare()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(scope="module")
def own_cluster():
    """A PostgreSQL that the tests of the module may stop and crash."""
    cluster = harness.Cluster()
    try:
        cluster.prepare()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def database(cluster, request):
    database = create_database(cluster, request.config)
    yield database
    cluster.drop_database(database)


@pytest.fixture
def start_server(request, tmp_path):
    """start_server(database, setting=value, ...): every server is stopped, and has to end well."""
    servers = []

    def start(database, wait=True, **settings):
        server = topology(request.config).Server(database, tmp_path, **settings)
        servers.append(server)
        return server.start(wait)

    yield start
    if getattr(request.node, "has_failed", False):
        show_logs(servers)
    failures = []
    for server in servers:
        try:
            server.destroy()
        except AssertionError as failure:
            failures.append(str(failure))
    assert not failures, "\n".join(failures)


@pytest.fixture
def server(database, start_server):
    """A server with the default settings on a database of its own."""
    return start_server(database)


@pytest.fixture(scope="module")
def shared_database(cluster, request):
    database = create_database(cluster, request.config)
    yield database
    cluster.drop_database(database)


@pytest.fixture(scope="module")
def module_server(shared_database, request, tmp_path_factory):
    settings = getattr(request.module, "SETTINGS", {})
    prepare = getattr(request.module, "SQL", None)
    if prepare:
        shared_database.execute(prepare)
    server = topology(request.config).Server(shared_database,
                                             tmp_path_factory.mktemp("shared"), **settings)
    server.start()
    yield server
    server.destroy()


@pytest.fixture
def shared(module_server, request):
    """One server for the tests of a module that do not mind each other; SETTINGS and SQL of the
    module set it up."""
    yield module_server
    if getattr(request.node, "has_failed", False):
        show_logs([module_server])
