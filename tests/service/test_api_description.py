# SPDX-License-Identifier: Apache-2.0
"""API descriptions: `switchboard api check`, the schema, and whether the two agree."""
import copy
import json
import re
import subprocess

import jsonschema
import pytest
from harness import BINARY, ROOT

SCHEMA = json.loads((ROOT / "docs" / "gateway.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
CORPUS = ROOT / "tests" / "fuzz" / "corpus" / "api"
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))

GOOD = {
    "routeSelectionExpression": "$request.body.action",
    "stageVariables": {"phase": "initial"},
    "apiKeys": ["k1"],
    "authorizers": {"tokens": {
        "url": "http://127.0.0.1:9001/authorize",
        "identitySources": ["route.request.header.Authorization"]}},
    "integrations": {
        "app": {"type": "lambda", "url": "http://127.0.0.1:9001/app"},
        "relay": {"type": "http_proxy", "url": "http://h/{room}", "requestParameters": {
            "integration.request.path.room": "route.request.body.room"}},
        "plain": {"type": "http", "url": "http://h", "responses": {"/5\\d\\d/": {}}},
        "mock": {"type": "mock", "requestTemplates": {"$default": "{\"statusCode\":200}"}},
        "database": {"type": "sql"}},
    "routes": {
        "$connect": {"integration": "app", "authorizer": "tokens", "apiKeyRequired": True},
        "$disconnect": "app",
        "$default": {},
        "sendmessage": {"integration": "plain", "routeResponse": True, "throttle": "10/s:20"}},
}
REMOVED = object()

# A path in GOOD, and what is there instead.
RIGHT = [
    ("description", "text"),
    ("$schema", "gateway.schema.json"),
    ("stageVariables", {}),
    ("stageVariables.a_B9", "any text"),
    ("stageVariables.a", "\u00e4" * 2048),
    ("apiKeys", ["k", "k", "!~" * 64]),
    ("routes.$connect", {"apiKeyRequired": False, "routeResponse": True, "throttle": "off"}),
    ("routes.$disconnect", {"integration": "app", "routeResponse": False}),
    ("routes.$default", {"description": "text", "throttle": ""}),
    ("routes.a/b c", "app"),
    ("routes.k" + "k" * 126, "app"),
    ("authorizers.tokens.type", "request"),
    ("authorizers.tokens.timeoutInMillis", 50),
    ("authorizers.tokens.identitySources", []),
    ("authorizers.tokens.identitySources", ["stageVariables.phase", "context.connectionId",
                                            "route.request.querystring.a.b-c_d"]),
    ("integrations.app.timeoutInMillis", 29000),
    ("integrations.app.timeoutInMillis", 100.0),
    ("integrations.app.url", "https://[::1]:65535/a?b=c&d=%20"),
    ("integrations.relay.method", "ANY"),
    ("integrations.plain.passthroughBehavior", "WHEN_NO_TEMPLATES"),
    ("integrations.plain.templateSelectionExpression", "${request.body.kind}"),
    ("integrations.plain.requestTemplates", {"x": "y" * 307200}),
    ("integrations.plain.responses", {"$default": {}, "404": {"responseTemplates": {"a": "b"}}}),
    ("integrations.plain.responses", {"$default": {
        "templateSelectionExpression": "${integration.response.statuscode}"}}),
    ("integrations.database.description", "text"),
]
WRONG = [
    ("routes", REMOVED),
    ("routes", {}),
    ("routes", []),
    ("route", {}),
    ("description", 1),
    ("routeSelectionExpression", ""),
    ("stageVariables.a-b", "x"),
    ("stageVariables.a", 1),
    ("stageVariables.a", "x" * 2049),
    ("stageVariables", None),
    ("apiKeys", REMOVED),
    ("apiKeys", []),
    ("apiKeys", ["a b"]),
    ("apiKeys", [""]),
    ("apiKeys", ["k" * 129]),
    ("apiKeys", "k"),
    ("routes.$other", "app"),
    ("routes.", "app"),
    ("routes.k" + "k" * 127, "app"),
    ("routes.a", 1),
    ("routes.a", None),
    ("routes.a", {"integrations": "app"}),
    ("routes.a", {"authorizer": "tokens"}),
    ("routes.a", {"apiKeyRequired": False}),
    ("routes.a", {"routeResponse": "yes"}),
    ("routes.a", {"throttle": "10/d"}),
    ("routes.a", {"throttle": 10}),
    ("routes.$default.authorizer", "tokens"),
    ("routes.$disconnect", {"routeResponse": True}),
    ("routes.$disconnect", {"throttle": "1/s"}),
    ("routes.$connect.apiKeyRequired", 1),
    ("authorizers.tokens", "http://h"),
    ("authorizers.tokens.type", "token"),
    ("authorizers.tokens.url", REMOVED),
    ("authorizers.tokens.url", "h"),
    ("authorizers.tokens.url", "http://h/{a}"),
    ("authorizers.tokens.timeoutInMillis", 49),
    ("authorizers.tokens.identitySources", "route.request.header.a"),
    ("authorizers.tokens.identitySources", ["$request.header.a"]),
    ("authorizers.tokens.identitySources", ["route.request.body.a"]),
    ("authorizers.tokens.identitySources", ["route.request.multivalueheader.a"]),
    ("authorizers.tokens.identitySources", ["'text'"]),
    ("authorizers.tokens.identitySources", ["context."]),
    ("authorizers", {f"a{n}": {"url": "http://h"} for n in range(11)} | {
        "tokens": {"url": "http://h"}}),
    ("integrations.app", {}),
    ("integrations.app.type", "aws"),
    ("integrations.app.type", REMOVED),
    ("integrations.app.url", REMOVED),
    ("integrations.app.url", "ftp://h"),
    ("integrations.app.url", "http:///x"),
    ("integrations.app.url", "http://u@h"),
    ("integrations.app.url", "http://h/a b"),
    ("integrations.app.url", "http://h/%4"),
    ("integrations.app.url", "http://h/#a"),
    ("integrations.app.url", "http://h/{a}"),
    ("integrations.app.url", "http://h/" + "x" * 2040),
    ("integrations.app.method", "POST"),
    ("integrations.app.timeoutInMillis", 29001),
    ("integrations.app.timeoutInMillis", 100.5),
    ("integrations.app.timeoutInMillis", "100"),
    ("integrations.relay.method", "get"),
    ("integrations.relay.responses", {}),
    ("integrations.relay.requestParameters", {"header.a": "context.stage"}),
    ("integrations.relay.requestParameters", {"integration.request.body.a": "context.stage"}),
    ("integrations.relay.requestParameters.integration\\.request\\.header\\.a", "request.body"),
    ("integrations.relay.requestParameters.integration\\.request\\.header\\.a", 1),
    ("integrations.relay.url", "http://h/{room}?{a}"),
    ("integrations.plain.passthroughBehavior", "ALWAYS"),
    ("integrations.plain.requestTemplates", {"x": "y" * 307201}),
    ("integrations.plain.requestTemplates", {"x": 1}),
    ("integrations.plain.requestTemplates", {"": "x"}),
    ("integrations.plain.templateSelectionExpression", "${integration.response.statuscode}"),
    ("integrations.plain.responses", {"5xx": {}}),
    ("integrations.plain.responses", {"600": {}}),
    ("integrations.plain.responses", {"//": {}}),
    ("integrations.plain.responses", {"$default": {"responseParameters": {}}}),
    ("integrations.mock.url", "http://h"),
    ("integrations.mock.timeoutInMillis", 100),
    ("integrations.database.url", "http://h"),
    ("integrations", {f"i{n}": {"type": "sql"} for n in range(301)}),
]
# What a schema cannot see.
WRONG_INSIDE = [
    ("routes.a", "nobody"),
    ("routes.a", {"integration": "nobody"}),
    ("routes.$connect.authorizer", "nobody"),
    ("routes.a", {"throttle": "0/s"}),
    ("routeSelectionExpression", "$request.header.x"),
    ("integrations.app.url", "http://h:65536"),
    ("integrations.relay.url", "http://h/{room}/{b}"),
    ("integrations.relay.url", "http://h/"),
    ("integrations.plain.requestTemplates", {"$default": "#if($a) x"}),
    ("integrations.plain.requestTemplates", {"x": "\u00e4" * 153601}),
    ("integrations.plain.templateSelectionExpression", "$request.header.x"),
    ("integrations.plain.responses", {"/[/": {}}),
    ("integrations.plain.responses", {"/(?:4|5)../": {}}),
    ("integrations.relay.requestParameters.integration\\.request\\.header\\.Host", "context.stage"),
    ("routes.\u00e4" + "k" * 126, "app"),
]


def changed(path, value):
    """GOOD with something else at the path; \\. is a dot in a name."""
    document = copy.deepcopy(GOOD)
    names = [name.replace("\\.", ".") for name in re.split(r"(?<!\\)\.", path)]
    at = document
    for name in names[:-1]:
        at = at[name]
    if value is REMOVED:
        del at[names[-1]]
    else:
        at[names[-1]] = value
    return document


def names_of(rows):
    return [f"{path[:40]}-{n}" for n, (path, _) in enumerate(rows)]


@pytest.fixture
def check(tmp_path):
    def run(document, *arguments):
        file = tmp_path / "gateway.json"
        file.write_text(document if isinstance(document, str) else json.dumps(document),
                        encoding="utf-8")
        return api_check(file, *arguments)
    return run


def api_check(*arguments, environment=None):
    return subprocess.run([BINARY, "api", "check", *arguments], capture_output=True, text=True,
                          env=environment or {})


# ---- the program and the schema ----

def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(("path", "value"), [("description", "as it is"), *RIGHT],
                         ids=["as it is", *names_of(RIGHT)])
def test_both_take_it(check, path, value):
    document = changed(path, value)
    done = check(document)
    assert done.returncode == 0, done.stderr
    assert not [error.message for error in VALIDATOR.iter_errors(document)]


@pytest.mark.parametrize(("path", "value"), WRONG, ids=names_of(WRONG))
def test_both_refuse_it(check, path, value):
    document = changed(path, value)
    assert not VALIDATOR.is_valid(document)
    done = check(document)
    assert done.returncode == 1, done.stdout
    assert done.stdout == "" and "gateway.json: " in done.stderr


@pytest.mark.parametrize(("path", "value"), WRONG_INSIDE, ids=names_of(WRONG_INSIDE))
def test_only_the_program_refuses_it(check, path, value):
    document = changed(path, value)
    assert VALIDATOR.is_valid(document)
    done = check(document)
    assert done.returncode == 1, done.stdout
    assert "gateway.json: " in done.stderr


def test_the_error_names_the_member(check):
    done = check(changed("routes.sendmessage.integration", "nobody"))
    assert done.stderr.rstrip().endswith(
        'gateway.json: routes.sendmessage.integration: there is no integration "nobody"')


def examples():
    found = []
    for path in DOCUMENTS:
        blocks = re.findall(r"^```json\n(.*?)^```", path.read_text(encoding="utf-8"),
                            re.DOTALL | re.MULTILINE)
        found += [pytest.param(block, id=f"{path.name}-{n}") for n, block in enumerate(blocks)
                  if '"routes"' in block]
    return found


@pytest.mark.parametrize("text", examples())
def test_the_examples_of_the_documentation_are_good(check, text):
    document = json.loads(text)
    done = check(text)
    assert done.returncode == 0, done.stderr
    assert not [error.message for error in VALIDATOR.iter_errors(document)]


def test_every_type_has_an_example():
    documents = [json.loads(param.values[0]) for param in examples()]
    types = {integration["type"] for document in documents
             for integration in document["integrations"].values()}
    assert types == {"lambda", "http_proxy", "http", "mock", "sql"}


@pytest.mark.parametrize(("name", "code", "is_valid"), [
    ("whole", 0, True), ("small", 0, True), ("responses", 0, True), ("path_parameters", 0, True),
    ("no_keys", 1, False), ("reserved", 1, False),
    ("twice", 1, True),  # a JSON reader keeps one of them
])
def test_the_fixtures_are_what_they_are_called(name, code, is_valid):
    done = api_check(CORPUS / name)
    assert done.returncode == code, done.stderr
    assert VALIDATOR.is_valid(json.loads((CORPUS / name).read_text())) == is_valid


def test_no_fixture_is_left_out():
    listed = next(mark for mark in test_the_fixtures_are_what_they_are_called.pytestmark
                  if mark.name == "parametrize").args[1]
    assert {row[0] for row in listed} == {path.name for path in CORPUS.iterdir()}


# ---- the command ----

def test_it_shows_what_handles_what(check):
    done = check(changed("integrations.unused", {"type": "mock"}))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    connect = next(line for line in lines if line.startswith("$connect "))
    assert re.search(r" app +lambda +POST http://127.0.0.1:9001/app "
                     r" authorizer tokens  API key$", connect)
    send = next(line for line in lines if line.startswith("sendmessage "))
    assert re.search(r" plain +http +POST http://h  two-way  at most 10/s:20$", send)
    assert re.search(r"^\$default +\(nothing\)$", done.stdout, re.MULTILINE)
    assert "authorizer tokens: POST http://127.0.0.1:9001/authorize" in lines
    assert "integration unused: no route uses it" in lines
    assert lines[-1] == "No database is needed."
    assert check(changed("routes.$default", "database")).stdout.endswith(
        "\nA database is needed.\n")


def test_it_tells_programs(check):
    done = check(changed("routes.$default", "database"), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["needsDatabase"] is True
    assert told["unused"] == {"integrations": ["relay", "mock"], "authorizers": []}
    routes = {route.pop("route"): route for route in told["routes"]}
    assert routes == {
        "$connect": {"integration": "app", "type": "lambda", "method": "POST",
                     "url": "http://127.0.0.1:9001/app", "timeoutInMillis": 29000,
                     "twoWay": False, "authorizer": "tokens", "apiKeyRequired": True},
        "$disconnect": {"integration": "app", "type": "lambda", "method": "POST",
                        "url": "http://127.0.0.1:9001/app", "timeoutInMillis": 29000,
                        "twoWay": False},
        "$default": {"integration": "database", "type": "sql", "twoWay": False},
        "sendmessage": {"integration": "plain", "type": "http", "method": "POST",
                        "url": "http://h", "timeoutInMillis": 29000, "twoWay": True,
                        "throttle": "10/s:20"},
    }


def test_the_file_of_the_setting_is_checked_without_another(tmp_path):
    file = tmp_path / "api.json"
    file.write_text('{"routes": {"a": {}}}')
    assert api_check(environment={"SWITCHBOARD_API": str(file)}).returncode == 0
    assert api_check("--api", file).returncode == 0
    assert api_check().returncode == 2


def test_a_file_that_is_not_there_is_a_failure(tmp_path):
    done = api_check(tmp_path / "nothing.json")
    assert done.returncode == 1
    assert "nothing.json" in done.stderr and "No such file" in done.stderr


def test_a_wrong_command_line_is_not_understood(tmp_path):
    for arguments in (["api"], ["api", "show", "x"], ["api", "check", "a", "b"]):
        done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, env={})
        assert done.returncode == 2, arguments
        assert done.stdout == ""


def test_keys_are_not_in_what_is_printed(check):
    for document in (GOOD, changed("apiKeys", ["very secret"]), changed("apiKeys", ["sec\nret"])):
        done = check(document)
        assert "secret" not in done.stdout + done.stderr and "k1" not in done.stdout
