# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of the Lambda: functions of sandboxes, and the whole topology."""
import importlib.util
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
SERVICE, CONTRACT = HERE.parent / "service", HERE.parent / "contract"
sys.path[:0] = [str(HERE), str(SERVICE), str(CONTRACT)]

import harness  # noqa: E402
import topology  # noqa: E402
from events import Connections  # noqa: E402
from runtime_api import Function  # noqa: E402

spec = importlib.util.spec_from_file_location("service_fixtures", SERVICE / "conftest.py")
service_fixtures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(service_fixtures)
for name in ("pytest_runtest_makereport", "cluster", "own_cluster"):
    globals()[name] = getattr(service_fixtures, name)


def pytest_configure(config):
    if not os.access(harness.BINARY, os.X_OK):
        raise pytest.UsageError(f"{harness.BINARY} is not there: build it with ./dev build dev")


@pytest.fixture
def database(cluster):
    database = topology.Database(cluster, cluster.create_database().name)
    yield database
    cluster.drop_database(database)


@pytest.fixture(scope="module")
def module_database(cluster):
    database = topology.Database(cluster, cluster.create_database().name)
    yield database
    cluster.drop_database(database)


@pytest.fixture
def connections():
    """Somebody's @connections that takes everything."""
    connections = Connections()
    yield connections
    connections.close()


def close_all(request, things):
    """What a test has started has to end well."""
    if getattr(request.node, "has_failed", False):
        for thing in things:
            print(f"---- the end of the logs of {thing.directory}\n{thing.log()[-8000:]}")
    failures = []
    for thing in things:
        try:
            thing.destroy() if hasattr(thing, "destroy") else thing.close()
        except AssertionError as failure:
            failures.append(str(failure))
    assert not failures, "\n".join(failures)


@pytest.fixture
def make_function(request, tmp_path, connections):
    """make_function(database, setting=value, ...): a function by itself.  Names in capitals are
    variables as they stand; sandboxes, timeout and freezes are runtime_api.Function's."""
    functions = []

    def make(database, sandboxes=1, timeout=10, freezes=True, **settings):
        settings = {"profile": "broadcast", "log_level": "debug", "AWS_LAMBDA_LOG_FORMAT": "Text",
                    **settings}
        environment = {
            "SWITCHBOARD_DATABASE_URL": database.gateway_url,
            "AWS_WEBSOCKET_API_GATEWAY_ENDPOINT": connections.endpoint,
            "AWS_ACCESS_KEY_ID": topology.KEY, "AWS_SECRET_ACCESS_KEY": topology.SECRET,
            "AWS_SESSION_TOKEN": topology.TOKEN,
            **{name if name.isupper() else f"SWITCHBOARD_{name.upper()}": value
               for name, value in settings.items()}}
        directory = tmp_path / f"function-{len(functions)}"
        directory.mkdir()
        functions.append(Function(directory, environment, sandboxes=sandboxes, timeout=timeout,
                                  freezes=freezes))
        return functions[-1]

    yield make
    close_all(request, functions)


@pytest.fixture
def function(database, make_function):
    """A function with one sandbox and the profile broadcast."""
    return make_function(database)


@pytest.fixture
def start(request, tmp_path):
    """start(database, setting=value, ...): gateway and function."""
    topologies = []

    def start_topology(database, **settings):
        topologies.append(topology.Topology(database, tmp_path, **settings))
        return topologies[-1].start()

    yield start_topology
    close_all(request, topologies)


@pytest.fixture
def road():
    road = topology.Road()
    yield road
    road.close()


@pytest.fixture(scope="session")
def pooler(cluster):
    pooler = topology.Pooler(cluster)
    yield pooler
    pooler.close()
