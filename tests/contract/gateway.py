# SPDX-License-Identifier: Apache-2.0
"""A gateway without a database, and the API descriptions it is given."""
import json
import re

import harness

# The values of API Gateway wherever they can be set: what these tests are about.  Requests to the
# management API need no signature; what signatures do is not tested here.
STRICT = {"aws_strict": "on", "development": "on"}

ERROR = re.compile(r'^\{"message": "([^"]*)", "connectionId":"([A-Za-z0-9_-]{18}==)",'
                   r' "requestId":"([A-Za-z0-9_-]{15}=)"\}$')


def error_frame(message, event):
    """What API Gateway makes of a fault of the event, byte for byte."""
    context = event["requestContext"]
    return ('{"message": "%s", "connectionId":"%s", "requestId":"%s"}'
            % (message, context["connectionId"], context["requestId"]))


def error_message(text):
    """The message of such a frame, whose ids nobody knows otherwise."""
    found = ERROR.match(text)
    assert found, text
    return found[1]


def describe(functions, routes=None, integrations=None, **members):
    """Everything goes to the function "app"; routes that are None are taken away."""
    routes = {"$connect": "app", "$disconnect": "app", "$default": "app", **(routes or {})}
    integrations = {"app": {"type": "lambda", "url": functions.url("app")}, **(integrations or {})}
    return {"routeSelectionExpression": "$request.body.action",
            "integrations": integrations,
            "routes": {key: route for key, route in routes.items() if route is not None},
            **members}


TWO_WAY = {"integration": "app", "routeResponse": True}


class Gateway(harness.Server):
    """`switchboard serve --api ...`; no database unless one is given."""

    def __init__(self, api, directory, database=None, functions=None, **settings):
        super().__init__(database, directory, **{**STRICT, **settings})
        path = self.directory / "gateway.json"
        path.write_text(json.dumps(api))
        self.settings["api"] = path
        self.functions = functions

    def open(self, query="", **options):
        """An open client; it knows its id when a function was asked about it."""
        known = len(self.functions.events("CONNECT")) if self.functions else 0
        client = self.connect(query, welcome=False, **options)
        events = self.functions.events("CONNECT")[known:] if self.functions else []
        client.event = events[-1] if events else None
        client.id = client.event["requestContext"]["connectionId"] if events else None
        return client

    def management(self, method, connection_id, body=None):
        """The management API where clients connect, as the SDKs use it."""
        return self.http(method, f"/{self.settings['stage']}/@connections/{connection_id}", body,
                         port=self.port)
