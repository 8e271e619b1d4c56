# SPDX-License-Identifier: Apache-2.0
# The careconnect API: three routes, the functions are somebody else's.

module "websocket" {
  source = "../websocket"

  api_name                   = var.api_name
  api_description            = "Real-time service of CareConnect"
  default_tags               = var.default_tags
  stage_name                 = var.stage_name
  route_selection_expression = "$request.body.action"

  connect_lambda_function_name    = var.connect_lambda_function_name
  connect_lambda_invoke_arn       = var.connect_lambda_invoke_arn
  disconnect_lambda_function_name = var.disconnect_lambda_function_name
  disconnect_lambda_invoke_arn    = var.disconnect_lambda_invoke_arn
  default_lambda_function_name    = var.default_lambda_function_name
  default_lambda_invoke_arn       = var.default_lambda_invoke_arn
  lambda_qualifier                = var.lambda_qualifier

  throttling_burst_limit = 500
  throttling_rate_limit  = 100
  logging_level          = var.logging_level
  enable_access_log      = var.enable_access_log
  log_retention_days     = var.log_retention_days
  kms_key_arn            = var.kms_key_arn
}
