# SPDX-License-Identifier: Apache-2.0
"""The fixtures of the service tests, for tests that are named after API Gateway's contract."""
import importlib.util
import pathlib
import sys

SERVICE = pathlib.Path(__file__).resolve().parents[1] / "service"
sys.path[:0] = [str(pathlib.Path(__file__).parent), str(SERVICE)]

spec = importlib.util.spec_from_file_location("service_fixtures", SERVICE / "conftest.py")
service_fixtures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(service_fixtures)
for name in ("pytest_runtest_makereport", "cluster", "database", "start_server", "server",
             "shared_database", "module_server", "shared"):
    globals()[name] = getattr(service_fixtures, name)
