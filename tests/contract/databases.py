# SPDX-License-Identifier: Apache-2.0
"""The fixtures of the service tests, for contract tests that need PostgreSQL.

    from databases import *  # noqa: F401,F403
"""
import importlib.util
import pathlib

_path = pathlib.Path(__file__).parents[1] / "service" / "conftest.py"
_spec = importlib.util.spec_from_file_location("service_conftest", _path)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

__all__ = ["cluster", "database", "start_server", "server", "shared_database", "module_server",
           "shared"]
globals().update({name: getattr(_module, name) for name in __all__})
