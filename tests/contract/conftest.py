# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the contract tests: those of the service tests, and functions and backends to call
with gateways that call them."""
import importlib.util
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
SERVICE = HERE.parent / "service"
sys.path[:0] = [str(HERE), str(SERVICE)]

import harness  # noqa: E402
from functions import Backend, Functions  # noqa: E402
from gateway import Gateway, describe  # noqa: E402

spec = importlib.util.spec_from_file_location("service_fixtures", SERVICE / "conftest.py")
service_fixtures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(service_fixtures)
for name in ("pytest_runtest_makereport", "cluster", "database", "start_server", "server",
             "shared_database", "module_server", "shared"):
    globals()[name] = getattr(service_fixtures, name)


def pytest_configure(config):
    if not os.access(harness.BINARY, os.X_OK):
        raise pytest.UsageError(f"{harness.BINARY} is not there: build it with ./dev build dev")


@pytest.fixture
def functions():
    functions = Functions()
    yield functions
    functions.close()


@pytest.fixture
def backend():
    backend = Backend()
    yield backend
    backend.close()


@pytest.fixture
def start(request, tmp_path, functions, backend):
    """start(api, setting=value, ...): every gateway is stopped, and has to end well."""
    gateways = []

    def start_gateway(api=None, wait=True, **settings):
        api = api or describe(functions)
        gateway = Gateway(api, tmp_path, functions=functions, **settings)
        gateways.append(gateway)
        return gateway.start(wait)

    yield start_gateway
    functions.release()
    backend.release()
    if getattr(request.node, "has_failed", False):
        for gateway in gateways:
            print(f"---- the end of {gateway.directory / 'log'}\n{gateway.log()[-6000:]}")
    failures = []
    for gateway in gateways:
        try:
            gateway.destroy()
        except AssertionError as failure:
            failures.append(str(failure))
    assert not failures, "\n".join(failures)


@pytest.fixture
def gateway(start):
    """Everything goes to the function "app", in one direction."""
    return start()
