# SPDX-License-Identifier: Apache-2.0
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  api_name                        = "api"
  stage_name                      = "test"
  connect_lambda_function_name    = "one"
  connect_lambda_invoke_arn       = "arn:aws:apigateway:us-east-1:lambda:path/one"
  disconnect_lambda_function_name = "two"
  disconnect_lambda_invoke_arn    = "arn:aws:apigateway:us-east-1:lambda:path/two"
  default_lambda_function_name    = "three"
  default_lambda_invoke_arn       = "arn:aws:apigateway:us-east-1:lambda:path/three"
}

run "three_routes_with_a_function_each" {
  command = plan

  module {
    source = "./modules/websocket"
  }

  assert {
    condition     = aws_apigatewayv2_api.this.protocol_type == "WEBSOCKET" && aws_apigatewayv2_api.this.route_selection_expression == "$request.body.action"
    error_message = "a WebSocket API that looks at the action"
  }
  assert {
    condition     = { for key, integration in aws_apigatewayv2_integration.this : key => integration.integration_uri } == { connect = var.connect_lambda_invoke_arn, disconnect = var.disconnect_lambda_invoke_arn, default = var.default_lambda_invoke_arn }
    error_message = "each integration calls its function"
  }
  assert {
    condition     = alltrue([for route in aws_apigatewayv2_route.this : route.authorization_type == "NONE"])
    error_message = "no authorizer, no authorization"
  }
  assert {
    condition = { for key, permission in aws_lambda_permission.route : permission.function_name => permission.source_arn } == {
      one   = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/test/$connect"
      two   = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/test/$disconnect"
      three = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/test/$default"
    }
    error_message = "a function may be called by its own route of this stage"
  }
  assert {
    condition     = aws_apigatewayv2_stage.this.auto_deploy
    error_message = "a stage without deployment answers 403"
  }
}

run "bodies_and_tokens_stay_out_of_the_logs" {
  command = plan

  module {
    source = "./modules/websocket"
  }

  assert {
    condition     = !aws_apigatewayv2_stage.this.default_route_settings[0].data_trace_enabled
    error_message = "data trace is off"
  }
  assert {
    condition     = !can(regex("(?i)query|header|body|path|authorizer\\.[^e]", aws_apigatewayv2_stage.this.access_log_settings[0].format))
    error_message = "the access log has nothing that a client sent but its address"
  }
  assert {
    condition     = length(aws_apigatewayv2_stage.this.access_log_settings[0].format) < 3072
    error_message = "an access log format has 3 KB at most"
  }
  assert {
    condition     = aws_cloudwatch_log_group.execution[0].name == "/aws/apigateway/a1b2c3d4e5/test" && aws_cloudwatch_log_group.access[0].name == "/switchboard/api/test/access"
    error_message = "both logs have a group of ours"
  }
  assert {
    condition     = length(aws_api_gateway_account.this) == 0
    error_message = "the account's setting is left alone"
  }
}

run "an_authorizer_guards_connect_and_nothing_else" {
  command = plan

  override_resource {
    target          = aws_apigatewayv2_integration.this["default"]
    override_during = plan
    values          = { id = "int-default" }
  }

  module {
    source = "./modules/websocket"
  }

  variables {
    custom_routes    = ["chat_message"]
    lambda_qualifier = "live"
    authorizer       = { function_name = "guard", invoke_arn = "arn:aws:apigateway:us-east-1:lambda:path/guard", qualifier = "live" }
  }

  assert {
    condition     = { for key, route in aws_apigatewayv2_route.this : key => route.authorization_type } == { "$connect" = "CUSTOM", "$disconnect" = "NONE", "$default" = "NONE", chat_message = "NONE" }
    error_message = "only $connect is authorized"
  }
  assert {
    condition     = aws_apigatewayv2_authorizer.this[0].authorizer_type == "REQUEST" && one(aws_apigatewayv2_authorizer.this[0].identity_sources) == "route.request.querystring.token"
    error_message = "the token is in the query"
  }
  assert {
    condition     = aws_lambda_permission.authorizer[0].source_arn == "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/authorizers/auth01" && aws_lambda_permission.authorizer[0].qualifier == "live"
    error_message = "this authorizer may call the function, and no other"
  }
  assert {
    condition     = aws_apigatewayv2_route.this["chat_message"].target == "integrations/int-default" && aws_lambda_permission.route["default"].source_arn == "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/test/*"
    error_message = "custom routes share the function of $default"
  }
}

run "answers_limits_and_a_domain_where_asked_for" {
  command = plan

  module {
    source = "./modules/websocket"
  }

  variables {
    custom_routes               = ["chat", "ping"]
    routes_with_response        = ["ping"]
    route_throttling            = { chat = { rate_limit = 5 }, "$default" = { burst_limit = 0 } }
    custom_domain               = { domain_name = "ws.example.com", certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/c", hosted_zone_id = "Z1" }
    manage_account_logging_role = true
  }

  assert {
    condition     = keys(aws_apigatewayv2_route_response.this) == ["ping"] && aws_apigatewayv2_route.this["ping"].route_response_selection_expression == "$default" && aws_apigatewayv2_route.this["chat"].route_response_selection_expression == null
    error_message = "ping answers, chat does not"
  }
  assert {
    condition     = { for settings in aws_apigatewayv2_stage.this.route_settings : settings.route_key => [settings.throttling_rate_limit, settings.throttling_burst_limit] } == { chat = [5, 500], "$default" = [1000, 0] }
    error_message = "what is left out is the default, and 0 is a limit"
  }
  assert {
    condition     = alltrue([for settings in aws_apigatewayv2_stage.this.route_settings : settings.logging_level == "INFO" && !settings.data_trace_enabled])
    error_message = "a route with limits of its own keeps the rest"
  }
  assert {
    condition     = aws_apigatewayv2_domain_name.this[0].domain_name_configuration[0].security_policy == "TLS_1_2" && length(aws_route53_record.this) == 1
    error_message = "the domain has TLS 1.2 and a record"
  }
  assert {
    condition     = length(aws_api_gateway_account.this) == 1
    error_message = "the account's logging role is set when asked"
  }
}

run "an_http_backend_is_told_about_the_connection" {
  command = plan

  module {
    source = "./modules/websocket"
  }

  variables {
    integration_type              = "HTTP_PROXY"
    http_integration_url          = "https://backend.example/ws"
    http_connect_query_parameters = ["token"]
  }

  assert {
    condition     = length(aws_lambda_permission.route) == 0
    error_message = "no function, no permission"
  }
  assert {
    condition     = alltrue([for integration in aws_apigatewayv2_integration.this : integration.integration_uri == "https://backend.example/ws" && integration.request_parameters["integration.request.header.connectionId"] == "context.connectionId" && integration.request_parameters["integration.request.header.eventType"] == "context.eventType"])
    error_message = "every event names its connection and its type"
  }
  assert {
    condition     = aws_apigatewayv2_integration.this["connect"].request_parameters["integration.request.querystring.token"] == "route.request.querystring.token" && !contains(keys(aws_apigatewayv2_integration.this["default"].request_parameters), "integration.request.querystring.token")
    error_message = "the query belongs to the handshake"
  }
  assert {
    condition     = one(aws_apigatewayv2_route.this["$connect"].request_parameter).request_parameter_key == "route.request.querystring.token"
    error_message = "what is mapped is declared"
  }
  assert {
    condition     = aws_apigatewayv2_integration.this["disconnect"].request_parameters["integration.request.header.disconnectStatusCode"] == "context.disconnectStatusCode"
    error_message = "a close has its code"
  }
}

run "http_needs_a_url" {
  command = plan

  module {
    source = "./modules/websocket"
  }

  variables {
    integration_type = "HTTP_PROXY"
  }

  expect_failures = [aws_apigatewayv2_integration.this]
}

run "limits_of_routes_that_are_not_there" {
  command = plan

  module {
    source = "./modules/websocket"
  }

  variables {
    route_throttling = { nowhere = { rate_limit = 1 } }
  }

  expect_failures = [aws_apigatewayv2_stage.this]
}

run "values_that_aws_refuses" {
  command = plan

  module {
    source = "./modules/websocket"
  }

  variables {
    stage_name                       = "a b"
    route_selection_expression       = "$request.header.action"
    custom_routes                    = ["$mine"]
    integration_timeout_milliseconds = 30000
    throttling_rate_limit            = 10001
    throttling_burst_limit           = -1
    logging_level                    = "DEBUG"
  }

  expect_failures = [
    var.stage_name,
    var.route_selection_expression,
    var.custom_routes,
    var.integration_timeout_milliseconds,
    var.throttling_rate_limit,
    var.throttling_burst_limit,
    var.logging_level,
  ]
}
