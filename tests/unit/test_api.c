/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_api.c - API descriptions: what they say, and what is wrong with them.
 *
 * In documents ' stands for " and ` for '.
 */
#include "api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum status parse(const char *document, struct api **out, struct error *err)
{
    size_t len = strlen(document);
    char *text = mem_realloc(NULL, len ? len : 1); /* no NUL: the sanitizer sees who reads on */
    enum status st;

    for (size_t i = 0; i < len; i++)
        text[i] = document[i] == '\'' ? '"' : document[i] == '`' ? '\'' : document[i];
    st = api_parse(text, len, out, err);
    free(text);
    return st;
}

static struct api *parsed(const char *document)
{
    struct api *api = NULL;
    struct error err = {.text = ""};

    if (parse(document, &api, &err) != OK)
        fail_msg("%s", err.text);
    return api;
}

/* The error is exactly that. */
static void assert_wrong(const char *document, const char *expected)
{
    struct api *api = NULL;
    struct error err = {.text = ""};

    if (parse(document, &api, &err) == OK)
        fail_msg("%.200s is taken", document);
    if (err.status != INVALID || strcmp(err.text, expected) != 0)
        fail_msg("the error is %s: %s\nand not %s", status_name(err.status), err.text, expected);
    assert_null(api);
}

/* The error begins like that: the rest is another file's. */
static void assert_wrong_at(const char *document, const char *place)
{
    struct api *api = NULL;
    struct error err = {.text = ""};

    if (parse(document, &api, &err) == OK)
        fail_msg("%.200s is taken", document);
    if (err.status != INVALID || strncmp(err.text, place, strlen(place)) != 0 ||
        strncmp(err.text + strlen(place), ": ", 2) != 0 || strlen(err.text) < strlen(place) + 8)
        fail_msg("the error is %s: %s\nand not at %s", status_name(err.status), err.text, place);
}

/* ---- what is right ---- */

static const char whole[] =
    "{'$schema': 'gateway.schema.json', 'description': 'all of it',"
    " 'routeSelectionExpression': '$request.body.do',"
    " 'stageVariables': {'phase': 'initial', 'b_2': ''},"
    " 'apiKeys': ['k1', 'k2'],"
    " 'authorizers': {'tokens': {'type': 'request', 'url': 'http://127.0.0.1:9001/authorize',"
    "   'identitySources': ['route.request.header.Authorization', 'stageVariables.phase'],"
    "   'timeoutInMillis': 50}},"
    " 'integrations': {"
    "   'app': {'type': 'lambda', 'url': 'http://[::1]:9001/f/invocations', 'description': 'x'},"
    "   'relay': {'type': 'http_proxy', 'url': 'https://a.example/ws', 'method': 'ANY',"
    "     'requestParameters': {'integration.request.header.id': 'context.connectionId'}},"
    "   'plain': {'type': 'http', 'url': 'http://h/x/{room}?a=b', 'method': 'PUT',"
    "     'timeoutInMillis': 29000,"
    "     'requestParameters': {'integration.request.path.room': 'route.request.body.room'},"
    "     'templateSelectionExpression': '${request.body.kind}',"
    "     'requestTemplates': {'a': 'A', '$default': 'D'},"
    "     'passthroughBehavior': 'NEVER',"
    "     'responses': {'$default': {'templateSelectionExpression': 'x', 'description': 'x',"
    "                                'responseTemplates': {'x': 'X'}},"
    "                   '404': {}, '/5\\\\d\\\\d/': {'responseTemplates': {'$default': '{}'}}}},"
    "   'mock': {'type': 'mock', 'requestTemplates': {'$default': '{}'}},"
    "   'database': {'type': 'sql'}},"
    " 'routes': {"
    "   '$connect': {'integration': 'app', 'authorizer': 'tokens', 'apiKeyRequired': true,"
    "                'throttle': '5/s'},"
    "   '$disconnect': 'database',"
    "   '$default': {'description': 'dropped'},"
    "   'send': {'integration': 'plain', 'routeResponse': true, 'throttle': '10/s:20'}}}";

static void test_the_whole_of_a_description_is_read(void **state)
{
    struct api *api = parsed(whole);

    (void)state;
    assert_string_equal(api->route_selection_expression, "$request.body.do");
    assert_string_equal(api->stage_variables_text, "{\"phase\":\"initial\",\"b_2\":\"\"}");
    assert_string_equal(json_text(json_get(api->stage_variables, "phase")), "initial");
    assert_int_equal(api->api_key_count, 2);
    assert_string_equal(api->api_keys[1], "k2");
    assert_int_equal(api->authorizer_count, 1);
    assert_string_equal(api->authorizers[0].name, "tokens");
    assert_string_equal(api->authorizers[0].url, "http://127.0.0.1:9001/authorize");
    assert_int_equal(api->authorizers[0].timeout_ms, 50);
    assert_int_equal(api->authorizers[0].identity_count, 2);
    assert_string_equal(api->authorizers[0].identity_sources[1], "stageVariables.phase");
    assert_int_equal(api->integration_count, 5);
    assert_int_equal(api->route_count, 4);
    assert_true(api_uses_sql(api));
    api_free(api);
}

static void test_integrations_have_what_their_type_has(void **state)
{
    struct api *api = parsed(whole);
    const struct api_integration *lambda = &api->integrations[0];
    const struct api_integration *proxy = &api->integrations[1];
    const struct api_integration *http = &api->integrations[2];

    (void)state;
    assert_int_equal(lambda->type, API_LAMBDA);
    assert_string_equal(lambda->url, "http://[::1]:9001/f/invocations");
    assert_int_equal(lambda->timeout_ms, 29000);
    assert_null(lambda->method);
    assert_int_equal(proxy->type, API_HTTP_PROXY);
    assert_string_equal(proxy->method, "POST");
    assert_non_null(proxy->request_parameters);
    assert_int_equal(http->type, API_HTTP);
    assert_string_equal(http->method, "PUT");
    assert_int_equal(http->passthrough, API_NEVER);
    assert_int_equal(http->request_templates.count, 2);
    assert_string_equal(http->request_templates.keys[0], "a");
    assert_non_null(http->request_templates.selection);
    assert_int_equal(http->response_count, 3);
    assert_int_equal(api->integrations[3].type, API_MOCK);
    assert_int_equal(api->integrations[3].passthrough, API_WHEN_NO_MATCH);
    assert_null(api->integrations[3].request_templates.selection);
    assert_int_equal(api->integrations[4].type, API_SQL);
    assert_null(api->integrations[4].url);
    api_free(api);
}

static void test_routes_know_their_integration(void **state)
{
    struct api *api = parsed(whole);
    struct api_route *connect = api_route(api, "$connect");
    struct api_route *send = api_route(api, "send");

    (void)state;
    assert_ptr_equal(connect->integration, &api->integrations[0]);
    assert_ptr_equal(connect->authorizer, &api->authorizers[0]);
    assert_true(connect->needs_api_key);
    assert_false(connect->has_response);
    assert_true(connect->rate.burst == 5);
    assert_ptr_equal(api_route(api, "$disconnect")->integration, &api->integrations[4]);
    assert_null(api_route(api, "$default")->integration);
    assert_true(api_route(api, "$default")->rate.burst == 0);
    assert_ptr_equal(send->integration, &api->integrations[2]);
    assert_true(send->has_response);
    assert_true(send->rate.burst == 20);
    assert_int_equal(rate_bucket_take(&send->bucket, &send->rate, 1), 0);
    assert_null(send->authorizer);
    assert_null(api_route(api, "Send"));
    assert_null(api_route(api, ""));
    api_free(api);
}

static void test_little_is_enough(void **state)
{
    struct api *api = parsed("{'routes': {'$default': {}}}");

    (void)state;
    assert_null(api->route_selection_expression);
    assert_null(api->stage_variables);
    assert_null(api->stage_variables_text);
    assert_false(api_uses_sql(api));
    api_free(api);
    api = parsed("{'stageVariables': {}, 'apiKeys': [], 'authorizers': {}, 'integrations': {},"
                 " 'routes': {'a': {}}}");
    assert_null(api->stage_variables);
    assert_null(api->stage_variables_text);
    api_free(api);
    api_free(NULL);
}

static void test_sql_that_no_route_uses_needs_no_database(void **state)
{
    struct api *api = parsed("{'integrations': {'s': {'type': 'sql'}}, 'routes': {'a': {}}}");

    (void)state;
    assert_false(api_uses_sql(api));
    api_free(api);
}

/* AWS wants a route response on $connect for integrations with templates. */
static void test_a_response_of_connect_changes_nothing(void **state)
{
    struct api *api = parsed("{'routes': {'$connect': {'routeResponse': true},"
                             "            '$disconnect': {'routeResponse': false}}}");

    (void)state;
    assert_false(api_route(api, "$connect")->has_response);
    assert_false(api_route(api, "$disconnect")->has_response);
    api_free(api);
}

/* ---- what is wrong, and where ---- */

struct wrong {
    const char *document;
    const char *error;
};

static void test_errors_of_the_document_name_the_member(void **state)
{
    static const struct wrong rows[] = {
        {"[]", "an API description is an object"},
        {"{}", "routes: is missing"},
        {"{'routes': {}}", "routes: there is none"},
        {"{'routes': []}", "routes: is not an object"},
        {"{'routes': null}", "routes: is not an object"},
        {"{'route': {}}", "route: an API description has no such member"},
        {"{'routes': {'a': {}}, 'routes': {'a': {}}}", "routes: is there twice"},
        {"{'routes': {'a': {}}, 'description': 1}", "description: is not a text"},
        {"{'routes': {'a': {}}, 'apiKeys': 'k'}", "apiKeys: is not a list"},
        {"{'routes': {'a': {}}, 'apiKeys': ['k', '']}",
         "apiKeys: number 2 is not a text of 1 to 128 visible ASCII characters"},
        {"{'routes': {'a': {}}, 'apiKeys': ['secret of ours']}",
         "apiKeys: number 1 is not a text of 1 to 128 visible ASCII characters"},
        {"{'routes': {'a': {}}, 'stageVariables': {'a-b': ''}}",
         "stageVariables.a-b: a name consists of letters, digits and underscores"},
        {"{'routes': {'a': {}}, 'stageVariables': {'a': 1}}", "stageVariables.a: is not a text"},
        {"{'routes': {'a': {}}, 'stageVariables': {'': 'x'}}",
         "stageVariables: a name in it is empty"},
        {"{'routes': {'a': {}}, 'stageVariables': {'a': 'x', 'a': 'y'}}",
         "stageVariables.a: is there twice"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_wrong(rows[i].document, rows[i].error);
    assert_wrong_at("{'routes': {'a': {}}, 'routeSelectionExpression': '$request.header.x'}",
                    "routeSelectionExpression");
}

static void test_what_is_no_json_is_invalid(void **state)
{
    struct api *api = NULL;
    struct error err = {.text = ""};

    (void)state;
    assert_int_equal(parse("{'routes': {'a': {},}}", &api, &err), INVALID);
    assert_true(err.text[0] != '\0');
    assert_int_equal(parse("", &api, &err), INVALID);
    assert_int_equal(parse("{'route': 1}", &api, NULL), INVALID);
    assert_null(api);
}

static void test_errors_of_routes_name_the_member(void **state)
{
    static const struct wrong rows[] = {
        {"{'sendmessage': {'integration': 'x'}}",
         "routes.sendmessage.integration: there is no integration \"x\""},
        {"{'sendmessage': 'x'}", "routes.sendmessage: there is no integration \"x\""},
        {"{'a': 1}", "routes.a: a route is an object or the name of an integration"},
        {"{'a': null}", "routes.a: a route is an object or the name of an integration"},
        {"{'': {}}", "routes: a name in it is empty"},
        {"{'a': {}, 'a': {}}", "routes.a: is there twice"},
        {"{'$other': {}}",
         "routes.$other: of keys that begin with $ there are $connect, $disconnect and $default"},
        {"{'a': {'responses': {}}}", "routes.a.responses: a route for messages has no such member"},
        {"{'a': {'authorizer': 't'}}",
         "routes.a.authorizer: a route for messages does not have it"},
        {"{'a': {'apiKeyRequired': false}}",
         "routes.a.apiKeyRequired: a route for messages does not have it"},
        {"{'$default': {'authorizer': 't'}}",
         "routes.$default.authorizer: a route for messages does not have it"},
        {"{'$disconnect': {'authorizer': 't'}}",
         "routes.$disconnect.authorizer: $disconnect does not have it"},
        {"{'$disconnect': {'throttle': '1/s'}}",
         "routes.$disconnect.throttle: $disconnect does not have it"},
        {"{'$disconnect': {'routeResponse': true}}",
         "routes.$disconnect.routeResponse: there is nobody left to answer"},
        {"{'$connect': {'authorizer': 't'}}",
         "routes.$connect.authorizer: there is no authorizer \"t\""},
        {"{'$connect': {'apiKeyRequired': true}}",
         "routes.$connect.apiKeyRequired: there are no apiKeys: nobody could connect"},
        {"{'$connect': {'apiKeyRequired': 'yes'}}",
         "routes.$connect.apiKeyRequired: is not true or false"},
        {"{'a': {'routeResponse': 1}}", "routes.a.routeResponse: is not true or false"},
        {"{'a': {'throttle': 10}}", "routes.a.throttle: is not a text"},
    };
    char document[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(document, sizeof(document), "{'routes': %s}", rows[i].document);
        assert_wrong(document, rows[i].error);
    }
    assert_wrong_at("{'routes': {'a': {'throttle': '10 a second'}}}", "routes.a.throttle");
}

static void test_errors_of_authorizers_name_the_member(void **state)
{
    static const struct wrong rows[] = {
        {"1", "authorizers.t: an authorizer is an object"},
        {"{}", "authorizers.t.url: is missing"},
        {"{'url': 'http://h', 'type': 'jwt'}",
         "authorizers.t.type: \"jwt\" is not request, the only type that there is"},
        {"{'url': 'http://h', 'identitySource': []}",
         "authorizers.t.identitySource: an authorizer has no such member"},
        {"{'url': 'http://h', 'identitySources': 'x'}",
         "authorizers.t.identitySources: is not a list"},
        {"{'url': 'http://h', 'identitySources': [1]}",
         "authorizers.t.identitySources: number 1 is not a text"},
        {"{'url': 'http://h', 'timeoutInMillis': 49}",
         "authorizers.t.timeoutInMillis: is not an integer from 50 to 29000"},
        {"{'url': 'http://h/{a}'}",
         "authorizers.t.url: nothing fills {a}: requestParameters has no "
         "integration.request.path.a"},
    };
    char document[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(document, sizeof(document), "{'authorizers': {'t': %s}, 'routes': {'a': {}}}",
                 rows[i].document);
        assert_wrong(document, rows[i].error);
    }
}

static void test_identity_sources_are_what_a_handshake_has(void **state)
{
    static const char *const good[] = {"route.request.header.X-Key", "context.connectionId",
                                       "route.request.querystring.a_b", "stageVariables.a"};
    static const char *const bad[] = {"$request.header.Authorization",
                                      "route.request.header.",
                                      "route.request.header.a b",
                                      "route.request.multivalueheader.a",
                                      "route.request.body.a",
                                      "route.request.body",
                                      "`text`",
                                      "context",
                                      "$context.connectionId",
                                      ""};
    char document[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        snprintf(document, sizeof(document),
                 "{'authorizers': {'t': {'url': 'http://h', 'identitySources': ['%s']}},"
                 " 'routes': {'a': {}}}",
                 good[i]);
        api_free(parsed(document));
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        snprintf(document, sizeof(document),
                 "{'authorizers': {'t': {'url': 'http://h', 'identitySources': ['%s']}},"
                 " 'routes': {'a': {}}}",
                 bad[i]);
        assert_wrong_at(document, "authorizers.t.identitySources");
    }
}

/* The document with one integration "i". */
static void write_integration(char *out, size_t size, const char *integration)
{
    int len = snprintf(out, size, "{'integrations': {'i': %s}, 'routes': {'a': 'i'}}", integration);

    assert_true(len > 0 && (size_t)len < size);
}

static void test_errors_of_integrations_name_the_member(void **state)
{
    static const struct wrong rows[] = {
        {"1", "integrations.i: an integration is an object"},
        {"{}", "integrations.i.type: is missing"},
        {"{'type': 1}", "integrations.i.type: is not a text"},
        {"{'type': 'aws'}",
         "integrations.i.type: \"aws\" is none of lambda, http_proxy, http, mock and sql"},
        {"{'type': 'sql', 'url': 'http://h'}",
         "integrations.i.url: a sql integration does not have it"},
        {"{'type': 'mock', 'timeoutInMillis': 100}",
         "integrations.i.timeoutInMillis: a mock integration does not have it"},
        {"{'type': 'lambda', 'url': 'http://h', 'method': 'GET'}",
         "integrations.i.method: a lambda integration does not have it"},
        {"{'type': 'http_proxy', 'url': 'http://h', 'responses': {}}",
         "integrations.i.responses: an http_proxy integration does not have it"},
        {"{'type': 'http', 'uri': 'http://h'}",
         "integrations.i.uri: an http integration has no such member"},
        {"{'type': 'http'}", "integrations.i.url: is missing"},
        {"{'type': 'http', 'url': 1}", "integrations.i.url: is not a text"},
        {"{'type': 'http', 'url': 'http://h', 'method': 'get'}",
         "integrations.i.method: \"get\" is none of DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT "
         "and ANY (POST)"},
        {"{'type': 'http', 'url': 'http://h', 'timeoutInMillis': 29001}",
         "integrations.i.timeoutInMillis: is not an integer from 50 to 29000"},
        {"{'type': 'http', 'url': 'http://h', 'timeoutInMillis': 100.5}",
         "integrations.i.timeoutInMillis: is not an integer from 50 to 29000"},
        {"{'type': 'http', 'url': 'http://h', 'timeoutInMillis': '100'}",
         "integrations.i.timeoutInMillis: is not a number"},
        {"{'type': 'mock', 'passthroughBehavior': 'ALWAYS'}",
         "integrations.i.passthroughBehavior: \"ALWAYS\" is none of WHEN_NO_MATCH, "
         "WHEN_NO_TEMPLATES and NEVER"},
        {"{'type': 'mock', 'requestTemplates': {'$default': 1}}",
         "integrations.i.requestTemplates.$default: a template is a text"},
        {"{'type': 'mock', 'requestTemplates': {'a': '', 'a': ''}}",
         "integrations.i.requestTemplates.a: is there twice"},
        {"{'type': 'mock', 'templateSelectionExpression': '$integration.response.statuscode'}",
         "integrations.i.templateSelectionExpression: there is no integration.response in front of "
         "the call; it belongs into responses"},
        {"{'type': 'mock', 'responses': {'5xx': {}}}",
         "integrations.i.responses.5xx: a response is for a status such as 404, an expression on "
         "it such as /5\\d\\d/, or $default"},
        {"{'type': 'mock', 'responses': {'600': {}}}",
         "integrations.i.responses.600: a response is for a status such as 404, an expression on "
         "it such as /5\\d\\d/, or $default"},
        {"{'type': 'mock', 'responses': {'200': 'x'}}",
         "integrations.i.responses.200: a response is an object"},
        {"{'type': 'mock', 'responses': {'200': {'templates': {}}}}",
         "integrations.i.responses.200.templates: a response has no such member"},
        {"{'type': 'mock', 'responses': {'200': {'responseTemplates': {'x': false}}}}",
         "integrations.i.responses.200.responseTemplates.x: a template is a text"},
    };
    char document[1024];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        write_integration(document, sizeof(document), rows[i].document);
        assert_wrong(document, rows[i].error);
    }
}

/* The texts of these are other files'. */
static void test_errors_of_expressions_have_the_place_in_front(void **state)
{
    static const struct wrong rows[] = {
        {"{'type': 'mock', 'requestTemplates': {'$default': '#if(true) x'}}",
         "integrations.i.requestTemplates.$default"},
        {"{'type': 'mock', 'templateSelectionExpression': '$request.header.x'}",
         "integrations.i.templateSelectionExpression"},
        {"{'type': 'mock', 'responses': {'$default': {'templateSelectionExpression':"
         " '$request.header.x'}}}",
         "integrations.i.responses.$default.templateSelectionExpression"},
        {"{'type': 'http', 'url': 'http://h', 'requestParameters': {'header.x': 'context.a'}}",
         "integrations.i.requestParameters"},
        {"{'type': 'http', 'url': 'http://h',"
         " 'requestParameters': {'integration.request.header.x': 'request.body'}}",
         "integrations.i.requestParameters"},
        {"{'type': 'http', 'url': 'http://h',"
         " 'requestParameters': {'integration.request.header.x': 1}}",
         "integrations.i.requestParameters"},
    };
    char document[1024];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        write_integration(document, sizeof(document), rows[i].document);
        assert_wrong_at(document, rows[i].error);
    }
}

static void test_a_long_place_leaves_room_for_what_is_wrong(void **state)
{
    char name[251];
    char document[1024];
    struct api *api = NULL;
    struct error err = {.text = ""};

    (void)state;
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    snprintf(document, sizeof(document),
             "{'integrations': {'%s': {'type': 'mock', 'requestTemplates': {'%s': 1}}},"
             " 'routes': {'a': {}}}",
             name, name);
    assert_int_equal(parse(document, &api, &err), INVALID);
    assert_non_null(strstr(err.text, "a template is a text"));
}

/* ---- URLs ---- */

static void test_urls_are_http_with_a_host(void **state)
{
    static const char *const good[] = {
        "http://h",
        "https://h.example:443",
        "http://h:9001/2015-03-31/functions/arn:aws:lambda:x:1:function:app:$LATEST/invocations",
        "http://[::1]/",
        "http://[fe80::1]:8080?x=1",
        "http://a_b-c.d/~x/%7Ey;v=1,2/(z)!*@?q=/?&r=`",
    };
    static const struct wrong bad[] = {
        {"", "it does not begin with http:// or https://"},
        {"h/x", "it does not begin with http:// or https://"},
        {"ws://h", "it does not begin with http:// or https://"},
        {"HTTP://h", "it does not begin with http:// or https://"},
        {"http://", "there is no host in it"},
        {"http:///x", "there is no host in it"},
        {"http://:80/", "there is no host in it"},
        {"http://[]/", "there is no host in it"},
        {"http://[::1/", "there is no host in it"},
        {"http://u@h/", "a user name or password is not allowed in a URL"},
        {"http://u:p@h/", "a user name or password is not allowed in a URL"},
        {"http://h:/", "what follows the host is no port from 1 to 65535"},
        {"http://h:0/", "what follows the host is no port from 1 to 65535"},
        {"http://h:65536/", "what follows the host is no port from 1 to 65535"},
        {"http://h:123456/", "what follows the host is no port from 1 to 65535"},
        {"http://h:8o/", "what follows the host is no port from 1 to 65535"},
        {"http://h x/", "what follows the host is no port from 1 to 65535"},
        {"http://{h}/", "a {name} can stand in the path only"},
        {"http://h/?a={b}", "a {name} can stand in the path only"},
        {"http://h/{}", "a {name} consists of letters, digits, hyphens and underscores"},
        {"http://h/{a.b}", "a {name} consists of letters, digits, hyphens and underscores"},
        {"http://h/{a", "a {name} consists of letters, digits, hyphens and underscores"},
        {"http://h/${stageVariables.x}",
         "a {name} consists of letters, digits, hyphens and underscores"},
        {"http://h/a}", "a character in it has to be percent-encoded"},
        {"http://h/a b", "a character in it has to be percent-encoded"},
        {"http://h/\\u00e4", "a character in it has to be percent-encoded"},
        {"http://h/\\\\x", "a character in it has to be percent-encoded"},
        {"http://h/\\n", "a character in it has to be percent-encoded"},
        {"http://h/%4", "behind a % there are not two hexadecimal digits"},
        {"http://h/%4x", "behind a % there are not two hexadecimal digits"},
        {"http://h/#a", "a fragment (#) is never sent"},
        {"http://h#a", "a fragment (#) is never sent"},
    };
    char document[512];
    char integration[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        snprintf(integration, sizeof(integration), "{'type': 'lambda', 'url': '%s'}", good[i]);
        write_integration(document, sizeof(document), integration);
        api_free(parsed(document));
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct api *api = NULL;
        struct error err = {.text = ""};

        snprintf(integration, sizeof(integration), "{'type': 'lambda', 'url': '%s'}",
                 bad[i].document);
        write_integration(document, sizeof(document), integration);
        assert_int_equal(parse(document, &api, &err), INVALID);
        if (strncmp(err.text, "integrations.i.url: \"", 21) != 0 ||
            strncmp(strrchr(err.text, '"'), "\": ", 3) != 0 ||
            strcmp(strrchr(err.text, '"') + 3, bad[i].error) != 0)
            fail_msg("%s: %s", bad[i].document, err.text);
    }
}

static void test_path_parameters_and_placeholders_belong_together(void **state)
{
    char document[1024];

    (void)state;
    write_integration(document, sizeof(document),
                      "{'type': 'http_proxy', 'url': 'http://h/{a}/x{b-c}/{a}',"
                      " 'requestParameters': {'integration.request.path.a': 'context.stage',"
                      " 'integration.request.path.b-c': 'context.stage',"
                      " 'integration.request.querystring.d': 'context.stage'}}");
    api_free(parsed(document));
    write_integration(document, sizeof(document),
                      "{'type': 'http_proxy', 'url': 'http://h/{a}/{b}',"
                      " 'requestParameters': {'integration.request.path.a': 'context.stage',"
                      " 'integration.request.querystring.b': 'context.stage'}}");
    assert_wrong(document, "integrations.i.url: nothing fills {b}: requestParameters has no "
                           "integration.request.path.b");
    write_integration(document, sizeof(document),
                      "{'type': 'http_proxy', 'url': 'http://h/{ab}',"
                      " 'requestParameters': {'integration.request.path.ab': 'context.stage',"
                      " 'integration.request.path.a': 'context.stage'}}");
    assert_wrong(document,
                 "integrations.i.url: there is no {a} in its path, but a parameter for it");
    write_integration(document, sizeof(document), "{'type': 'http_proxy', 'url': 'http://h/{a}'}");
    assert_wrong(document, "integrations.i.url: nothing fills {a}: requestParameters has no "
                           "integration.request.path.a");
}

/* ---- limits ---- */

/* count members such as 'n7': value, between front and back */
static char *many(const char *front, size_t count, const char *value, const char *back)
{
    struct buf out;

    buf_init(&out, SIZE_MAX);
    buf_adds(&out, front);
    for (size_t i = 0; i < count; i++)
        buf_addf(&out, "%s'n%zu': %s", i ? ", " : "", i, value);
    buf_adds(&out, back);
    return buf_take(&out);
}

static void assert_limit(const char *front, size_t most, const char *value, const char *back,
                         const char *error)
{
    char *document = many(front, most, value, back);

    api_free(parsed(document));
    free(document);
    document = many(front, most + 1, value, back);
    assert_wrong(document, error);
    free(document);
}

static void test_there_are_limits_of_how_many(void **state)
{
    (void)state;
    assert_limit("{'routes': {", 300, "{}", "}}", "routes: 301 of them are more than 300");
    assert_limit("{'routes': {'a': {}}, 'integrations': {", 300, "{'type': 'sql'}", "}}",
                 "integrations: 301 of them are more than 300");
    assert_limit("{'routes': {'a': {}}, 'authorizers': {", 10, "{'url': 'http://h'}", "}}",
                 "authorizers: 11 of them are more than 10");
    assert_limit("{'routes': {'a': {}}, 'stageVariables': {", 300, "''", "}}",
                 "stageVariables: 301 of them are more than 300");
    assert_limit("{'routes': {'a': {}}, 'integrations': {'i': {'type': 'mock',"
                 " 'requestTemplates': {",
                 300, "''", "}}}}",
                 "integrations.i.requestTemplates: 301 of them are more than 300");
}

/* len times 'x' between front and back */
static char *padded(const char *front, size_t len, const char *back)
{
    struct buf out;

    buf_init(&out, SIZE_MAX);
    buf_adds(&out, front);
    for (size_t i = 0; i < len; i++)
        buf_addc(&out, 'x');
    buf_adds(&out, back);
    return buf_take(&out);
}

static void assert_long(const char *front, size_t most, const char *back, const char *place)
{
    char *document = padded(front, most, back);

    api_free(parsed(document));
    free(document);
    document = padded(front, most + 1, back);
    assert_wrong_at(document, place);
    free(document);
}

static void test_there_are_limits_of_how_long(void **state)
{
    (void)state;
    assert_long("{'routes': {'a': {}}, 'integrations': {'i': {'type': 'mock',"
                " 'requestTemplates': {'$default': '",
                307200, "'}}}}", "integrations.i.requestTemplates.$default");
    assert_long("{'routes': {'a': {}}, 'integrations': {'i': {'type': 'lambda', 'url': 'http://h/",
                2048 - strlen("http://h/"), "'}}}", "integrations.i.url");
    assert_long("{'routes': {'a': {}}, 'stageVariables': {'a': '", 2048, "'}}", "stageVariables.a");
    assert_long("{'routes': {'a': {}}, 'apiKeys': ['", 128, "']}", "apiKeys");
    assert_long("{'routes': {'a': {}}, 'integrations': {'", 256, "': {'type': 'sql'}}}",
                "integrations.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                "xxxxxxxxxxxx");
    assert_long("{'routes': {'", 127, "': {}}}",
                "routes.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                "xxxxxxxxxxxx");
}

static void test_a_name_counts_in_characters(void **state)
{
    struct buf out;
    char *document;

    (void)state;
    buf_init(&out, SIZE_MAX);
    buf_adds(&out, "{'routes': {'a': {}}, 'integrations': {'");
    for (size_t i = 0; i < 256; i++)
        buf_adds(&out, "\xc3\xa4");
    buf_adds(&out, "': {'type': 'sql'}}}");
    document = buf_take(&out);
    api_free(parsed(document));
    free(document);
}

/* ---- templates and responses ---- */

static const char *template_key(const struct api_templates *templates, const char *body,
                                const struct selection_answer *answer, const char *fallback)
{
    const struct template *found =
        api_template(templates, body, body ? strlen(body) : 0, answer, fallback);

    for (size_t i = 0; i < templates->count; i++)
        if (templates->templates[i] == found)
            return templates->keys[i];
    assert_null(found);
    return "none";
}

static void test_an_expression_selects_the_template(void **state)
{
    struct api *api = parsed(whole);
    const struct api_templates *templates = &api->integrations[2].request_templates;

    (void)state;
    assert_string_equal(template_key(templates, "{\"kind\":\"a\"}", NULL, NULL), "a");
    assert_string_equal(template_key(templates, "{\"kind\":\"b\"}", NULL, NULL), "$default");
    assert_string_equal(template_key(templates, "{\"kind\":\"b\"}", NULL, "a"), "$default");
    assert_string_equal(template_key(templates, "no JSON", NULL, NULL), "$default");
    assert_string_equal(template_key(templates, NULL, NULL, NULL), "$default");
    api_free(api);
}

static void test_an_expression_that_finds_nothing_selects_none(void **state)
{
    struct api *api = parsed("{'integrations': {'i': {'type': 'mock',"
                             " 'templateSelectionExpression': '${request.body.kind}',"
                             " 'requestTemplates': {'a': 'A'}}}, 'routes': {'a': 'i'}}");
    const struct api_templates *templates = &api->integrations[0].request_templates;
    char *body = padded("{\"kind\":\"", 5000, "\"}");

    (void)state;
    assert_string_equal(template_key(templates, "{\"kind\":\"a\"}", NULL, NULL), "a");
    assert_string_equal(template_key(templates, "{\"kind\":\"b\"}", NULL, NULL), "none");
    assert_string_equal(template_key(templates, body, NULL, NULL), "none");
    free(body);
    api_free(api);
}

static void test_without_an_expression_the_only_template_applies(void **state)
{
    struct api *api = parsed("{'integrations': {"
                             " 'one': {'type': 'mock', 'requestTemplates':"
                             "   {'application/json': 'A'}},"
                             " 'two': {'type': 'mock', 'requestTemplates':"
                             "   {'200': 'A', '$default': 'D'}},"
                             " 'odd': {'type': 'mock', 'requestTemplates': {'a': 'A', 'b': 'B'}},"
                             " 'none': {'type': 'mock'}}, 'routes': {'a': {}}}");
    const struct api_integration *all = api->integrations;

    (void)state;
    assert_string_equal(template_key(&all[0].request_templates, "x", NULL, NULL),
                        "application/json");
    assert_string_equal(template_key(&all[0].request_templates, "x", NULL, "200"),
                        "application/json");
    assert_string_equal(template_key(&all[1].request_templates, "x", NULL, NULL), "$default");
    assert_string_equal(template_key(&all[1].request_templates, "x", NULL, "200"), "200");
    assert_string_equal(template_key(&all[1].request_templates, "x", NULL, "404"), "$default");
    assert_string_equal(template_key(&all[2].request_templates, "x", NULL, NULL), "none");
    assert_string_equal(template_key(&all[3].request_templates, "x", NULL, "200"), "none");
    api_free(api);
}

static void test_the_status_can_select_a_template_of_a_response(void **state)
{
    struct api *api = parsed("{'integrations': {'i': {'type': 'mock', 'responses': {'$default': {"
                             " 'templateSelectionExpression': '${integration.response.statuscode}',"
                             " 'responseTemplates': {'404': 'gone', '$default': 'fine'}}}}},"
                             " 'routes': {'a': 'i'}}");
    const struct api_response *response = api_response(&api->integrations[0], 404);
    struct selection_answer answer = {.status = 404};

    (void)state;
    assert_string_equal(template_key(&response->templates, "", &answer, NULL), "404");
    answer.status = 200;
    assert_string_equal(template_key(&response->templates, "", &answer, NULL), "$default");
    api_free(api);
}

static const char *response_key(const struct api *api, int status)
{
    const struct api_response *response = api_response(&api->integrations[0], status);

    return response ? response->key : "none";
}

static void test_a_response_is_found_by_status_expression_or_default(void **state)
{
    struct api *api = parsed("{'integrations': {'i': {'type': 'mock', 'responses': {"
                             " '$default': {}, '/4\\\\d\\\\d/': {}, '/40\\\\d/': {}, '404': {}}}},"
                             " 'routes': {'a': 'i'}}");

    (void)state;
    assert_string_equal(response_key(api, 404), "404");
    assert_string_equal(response_key(api, 403), "/4\\d\\d/");
    assert_string_equal(response_key(api, 200), "$default");
    assert_string_equal(response_key(api, 0), "$default");
    assert_string_equal(response_key(api, -1), "$default");
    api_free(api);
    api = parsed("{'integrations': {'i': {'type': 'mock', 'responses': {'/2.*/': {}}}},"
                 " 'routes': {'a': 'i'}}");
    assert_string_equal(response_key(api, 204), "/2.*/");
    assert_string_equal(response_key(api, 302), "none");
    api_free(api);
}

struct pattern {
    const char *pattern; /* with \ doubled once for C and once for JSON */
    int status;
    bool matches;
};

static void test_expressions_match_the_whole_status(void **state)
{
    static const struct pattern rows[] = {
        {"5\\\\d\\\\d", 503, true},
        {"5\\\\d\\\\d", 403, false},
        {"50", 503, false},
        {"03", 503, false},
        {"4..|5..", 503, true},
        {"5|503", 503, true},
        {"503|5", 503, true},
        {"4|5", 503, false},
        {"(4|5)\\\\d{2}", 503, true},
        {"(4|5)\\\\d{1}", 503, false},
        {"[45]\\\\d+", 404, true},
        {"[^45].*", 404, false},
        {"[^45].*", 302, true},
        {"[4\\\\d]{3}", 999, true},
        {"\\\\d{1,2}", 503, false},
        {"\\\\d{1,}", 503, true},
        {"(50|60)3", 503, true},
        {"^5\\\\d\\\\d$", 503, true},
        {".*", 200, true},
        {"(|4)4*", 44, true},
        {"^4|5$", 5, true},
        {"^$", 5, false},
        {"4\\\\$", 4, false},
        {"4\\\\.4", 404, false},
        {"4{0}5{2}", 55, true},
    };
    char document[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct api *api;

        snprintf(document, sizeof(document),
                 "{'integrations': {'i': {'type': 'mock', 'responses': {'/%s/': {}}}},"
                 " 'routes': {'a': 'i'}}",
                 rows[i].pattern);
        api = parsed(document);
        if ((api_response(&api->integrations[0], rows[i].status) != NULL) != rows[i].matches)
            fail_msg("/%s/ and %d", rows[i].pattern, rows[i].status);
        api_free(api);
    }
}

static void test_expressions_that_java_reads_otherwise_are_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "(?:4|5)..",
        "4+?",
        "4*+",
        "4**",
        "\\\\w",
        "\\\\D+",
        "\\\\s",
        "\\\\1",
        "(4)\\\\1",
        "(4|5){2}",
        "4{10}",
        "4{2,1}",
        "4{,2}",
        "4{",
        "4{2",
        "{2}",
        "4{2}{2}",
        "*4",
        "(*4)",
        "4)",
        "(4",
        "a)(b",
        "()",
        "[]",
        "[^]",
        "[4",
        "[[:digit:]]",
        "[4\\\\w]",
        "[\\\\]]",
        "4]",
        "4}",
        "4\\\\",
        "|*",
        "[9-0]",
        "4{2}?",
        "(((((((((4)))))))))",
        "4{a}",
        "(4)?",
        "(4|5)*",
        "4^",
        "(^4)",
        "($)4",
        "$4",
        "4^$",
        "^*",
    };
    char document[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        static const char place[] = "integrations.i.responses./";
        struct api *api = NULL;
        struct error err = {.text = ""};

        snprintf(document, sizeof(document),
                 "{'integrations': {'i': {'type': 'mock', 'responses': {'/%s/': {}}}},"
                 " 'routes': {'a': 'i'}}",
                 rows[i]);
        if (parse(document, &api, &err) != INVALID || !strstr(err.text, "regular expression") ||
            strncmp(err.text, place, strlen(place)) != 0)
            fail_msg("/%s/: %s", rows[i], err.text);
    }
}

static void test_an_expression_has_at_most_128_bytes(void **state)
{
    (void)state;
    assert_long("{'integrations': {'i': {'type': 'mock', 'responses': {'/", 128,
                "/': {}}}}, 'routes': {'a': 'i'}}",
                "integrations.i.responses./xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                "xxxxxxxxxxxxxxxxxxxxxxxxxxx");
}

/* ---- files ---- */

static void test_a_file_is_read_and_named_in_errors(void **state)
{
    char name[] = "/tmp/test_api_XXXXXX";
    int fd = mkstemp(name);
    FILE *file = fdopen(fd, "w");
    struct api *api = NULL;
    struct error err = {.text = ""};
    char expected[128];

    (void)state;
    assert_non_null(file);
    fputs("{\"routes\": {\"a\": {}}}", file);
    fflush(file);
    assert_int_equal(api_load(name, &api, &err), OK);
    assert_non_null(api_route(api, "a"));
    api_free(api);
    api = NULL;
    rewind(file);
    fputs("{\"routes\": {\"a\": 12}}", file);
    fclose(file);
    assert_int_equal(api_load(name, &api, &err), INVALID);
    snprintf(expected, sizeof(expected),
             "%s: routes.a: a route is an object or the name of an integration", name);
    assert_string_equal(err.text, expected);
    assert_int_equal(unlink(name), 0);
    assert_int_equal(api_load(name, &api, &err), UNAVAILABLE);
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(api_load("/", &api, &err), UNAVAILABLE);
    assert_int_equal(api_load("/", &api, NULL), UNAVAILABLE);
    assert_null(api);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_whole_of_a_description_is_read),
        cmocka_unit_test(test_integrations_have_what_their_type_has),
        cmocka_unit_test(test_routes_know_their_integration),
        cmocka_unit_test(test_little_is_enough),
        cmocka_unit_test(test_sql_that_no_route_uses_needs_no_database),
        cmocka_unit_test(test_a_response_of_connect_changes_nothing),
        cmocka_unit_test(test_errors_of_the_document_name_the_member),
        cmocka_unit_test(test_what_is_no_json_is_invalid),
        cmocka_unit_test(test_errors_of_routes_name_the_member),
        cmocka_unit_test(test_errors_of_authorizers_name_the_member),
        cmocka_unit_test(test_identity_sources_are_what_a_handshake_has),
        cmocka_unit_test(test_errors_of_integrations_name_the_member),
        cmocka_unit_test(test_errors_of_expressions_have_the_place_in_front),
        cmocka_unit_test(test_a_long_place_leaves_room_for_what_is_wrong),
        cmocka_unit_test(test_urls_are_http_with_a_host),
        cmocka_unit_test(test_path_parameters_and_placeholders_belong_together),
        cmocka_unit_test(test_there_are_limits_of_how_many),
        cmocka_unit_test(test_there_are_limits_of_how_long),
        cmocka_unit_test(test_a_name_counts_in_characters),
        cmocka_unit_test(test_an_expression_selects_the_template),
        cmocka_unit_test(test_an_expression_that_finds_nothing_selects_none),
        cmocka_unit_test(test_without_an_expression_the_only_template_applies),
        cmocka_unit_test(test_the_status_can_select_a_template_of_a_response),
        cmocka_unit_test(test_a_response_is_found_by_status_expression_or_default),
        cmocka_unit_test(test_expressions_match_the_whole_status),
        cmocka_unit_test(test_expressions_that_java_reads_otherwise_are_refused),
        cmocka_unit_test(test_an_expression_has_at_most_128_bytes),
        cmocka_unit_test(test_a_file_is_read_and_named_in_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
