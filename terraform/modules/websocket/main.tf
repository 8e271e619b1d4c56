# SPDX-License-Identifier: Apache-2.0
# One WebSocket API: routes, integrations, authorizer, stage.

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  is_lambda = var.integration_type == "AWS_PROXY"

  functions = {
    connect    = { name = var.connect_lambda_function_name, invoke_arn = var.connect_lambda_invoke_arn }
    disconnect = { name = var.disconnect_lambda_function_name, invoke_arn = var.disconnect_lambda_invoke_arn }
    default    = { name = var.default_lambda_function_name, invoke_arn = var.default_lambda_invoke_arn }
  }

  # The function behind the custom routes may be called by all of them; one statement for each would
  # outgrow the function's policy (20 KB) at about sixty routes.
  permitted_routes = {
    connect    = "$connect"
    disconnect = "$disconnect"
    default    = length(var.custom_routes) > 0 ? "*" : "$default"
  }

  routes = merge(
    { "$connect" = "connect", "$disconnect" = "disconnect", "$default" = "default" },
    { for key in var.custom_routes : key => "default" },
  )

  # Built from names, not from the stage: functions take the endpoint in their environment, and the
  # stage waits for the functions.
  stage_arn           = "${aws_apigatewayv2_api.this.execution_arn}/${var.stage_name}"
  host                = "${aws_apigatewayv2_api.this.id}.execute-api.${data.aws_region.current.region}.${data.aws_partition.current.dns_suffix}"
  management_endpoint = "https://${local.host}/${var.stage_name}"
  invoke_url          = "wss://${local.host}/${var.stage_name}"

  # An HTTP backend is told nothing about the connection unless it is mapped.
  http_headers = {
    for name, source in {
      apiId        = "context.apiId"
      connectedAt  = "context.connectedAt"
      connectionId = "context.connectionId"
      domainName   = "context.domainName"
      eventType    = "context.eventType"
      requestId    = "context.requestId"
      routeKey     = "context.routeKey"
      sourceIp     = "context.identity.sourceIp"
      stage        = "context.stage"
    } : "integration.request.header.${name}" => source
  }
  http_query = {
    for name in var.http_connect_query_parameters :
    "integration.request.querystring.${name}" => "route.request.querystring.${name}"
  }
  http_request_parameters = {
    connect = merge(local.http_headers, local.http_query)
    disconnect = merge(local.http_headers, {
      "integration.request.header.disconnectStatusCode" = "context.disconnectStatusCode"
      "integration.request.header.disconnectReason"     = "context.disconnectReason"
    })
    default = local.http_headers
  }
}

resource "aws_apigatewayv2_api" "this" {
  name                       = var.api_name
  description                = var.api_description
  protocol_type              = "WEBSOCKET"
  route_selection_expression = var.route_selection_expression
  tags                       = var.default_tags
}

# ---- routes ----

resource "aws_apigatewayv2_integration" "this" {
  for_each = local.functions

  api_id               = aws_apigatewayv2_api.this.id
  integration_type     = var.integration_type
  integration_method   = "POST"
  integration_uri      = local.is_lambda ? each.value.invoke_arn : var.http_integration_url
  request_parameters   = local.is_lambda ? null : local.http_request_parameters[each.key]
  timeout_milliseconds = var.integration_timeout_milliseconds

  lifecycle {
    precondition {
      condition     = local.is_lambda || var.http_integration_url != null
      error_message = "HTTP_PROXY needs http_integration_url."
    }
    precondition {
      condition     = !local.is_lambda || (each.value.name != null && each.value.invoke_arn != null)
      error_message = "AWS_PROXY needs ${each.key}_lambda_function_name and ${each.key}_lambda_invoke_arn."
    }
  }
}

resource "aws_apigatewayv2_route" "this" {
  for_each = local.routes

  api_id             = aws_apigatewayv2_api.this.id
  route_key          = each.key
  target             = "integrations/${aws_apigatewayv2_integration.this[each.value].id}"
  authorization_type = each.key == "$connect" && var.authorizer != null ? "CUSTOM" : "NONE"
  authorizer_id      = each.key == "$connect" && var.authorizer != null ? aws_apigatewayv2_authorizer.this[0].id : null

  route_response_selection_expression = contains(var.routes_with_response, each.key) ? "$default" : null

  dynamic "request_parameter" {
    for_each = each.key == "$connect" && !local.is_lambda ? var.http_connect_query_parameters : []

    content {
      request_parameter_key = "route.request.querystring.${request_parameter.value}"
      required              = false
    }
  }
}

resource "aws_apigatewayv2_route_response" "this" {
  for_each = { for key, _ in local.routes : key => true if contains(var.routes_with_response, key) }

  api_id             = aws_apigatewayv2_api.this.id
  route_id           = aws_apigatewayv2_route.this[each.key].id
  route_response_key = "$default"
}

resource "aws_lambda_permission" "route" {
  for_each = local.is_lambda ? local.functions : {}

  statement_id  = "${aws_apigatewayv2_api.this.id}-${each.key}"
  action        = "lambda:InvokeFunction"
  function_name = each.value.name
  qualifier     = var.lambda_qualifier
  principal     = "apigateway.amazonaws.com"
  source_arn    = format("%s/%s", local.stage_arn, local.permitted_routes[each.key])
}

# ---- authorizer ----

# Payload versions, simple answers and caching belong to HTTP APIs and stay unset.
resource "aws_apigatewayv2_authorizer" "this" {
  count = var.authorizer == null ? 0 : 1

  api_id           = aws_apigatewayv2_api.this.id
  name             = "${var.api_name}-authorizer"
  authorizer_type  = "REQUEST"
  authorizer_uri   = var.authorizer.invoke_arn
  identity_sources = var.authorizer.identity_sources
}

resource "aws_lambda_permission" "authorizer" {
  count = var.authorizer == null ? 0 : 1

  statement_id  = "${aws_apigatewayv2_api.this.id}-authorizer"
  action        = "lambda:InvokeFunction"
  function_name = var.authorizer.function_name
  qualifier     = var.authorizer.qualifier
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.this.execution_arn}/authorizers/${aws_apigatewayv2_authorizer.this[0].id}"
}

# ---- stage ----

# auto_deploy: a stage without a deployment answers 403.
resource "aws_apigatewayv2_stage" "this" {
  api_id          = aws_apigatewayv2_api.this.id
  name            = var.stage_name
  auto_deploy     = true
  stage_variables = var.stage_variables
  tags            = var.default_tags

  default_route_settings {
    data_trace_enabled       = var.enable_data_trace
    detailed_metrics_enabled = var.enable_detailed_metrics
    logging_level            = var.logging_level
    throttling_burst_limit   = var.throttling_burst_limit
    throttling_rate_limit    = var.throttling_rate_limit
  }

  # A route's settings replace the default ones as a whole.
  dynamic "route_settings" {
    for_each = var.route_throttling

    content {
      route_key                = route_settings.key
      data_trace_enabled       = var.enable_data_trace
      detailed_metrics_enabled = var.enable_detailed_metrics
      logging_level            = var.logging_level
      throttling_burst_limit   = coalesce(route_settings.value.burst_limit, var.throttling_burst_limit)
      throttling_rate_limit    = coalesce(route_settings.value.rate_limit, var.throttling_rate_limit)
    }
  }

  dynamic "access_log_settings" {
    for_each = aws_cloudwatch_log_group.access

    content {
      destination_arn = access_log_settings.value.arn
      format          = local.access_log_format
    }
  }

  lifecycle {
    precondition {
      condition     = length(setsubtract(keys(var.route_throttling), keys(local.routes))) == 0
      error_message = "route_throttling names a route that the API does not have."
    }
    precondition {
      condition     = length(setsubtract(var.routes_with_response, keys(local.routes))) == 0
      error_message = "routes_with_response names a route that the API does not have."
    }
  }

  depends_on = [
    aws_api_gateway_account.this,
    aws_apigatewayv2_route.this,
    aws_apigatewayv2_route_response.this,
    aws_cloudwatch_log_group.execution,
  ]
}
