# SPDX-License-Identifier: Apache-2.0
output "websocket_api_id" {
  description = "Id of the API."
  value       = aws_apigatewayv2_api.this.id
}

output "websocket_api_endpoint" {
  description = "URL that clients connect to, stage included."
  value       = local.invoke_url
}

output "websocket_management_endpoint" {
  description = "URL of the management API (@connections), stage included."
  value       = local.management_endpoint
}

output "websocket_api_execution_arn" {
  description = "ARN that permissions on the API begin with."
  value       = aws_apigatewayv2_api.this.execution_arn
}

output "websocket_stage_name" {
  description = "Name of the stage."
  value       = var.stage_name
}

output "websocket_stage_invoke_url" {
  description = "URL of the stage once it is deployed: the same address as websocket_api_endpoint."
  value       = aws_apigatewayv2_stage.this.invoke_url
}

output "manage_connections_arn" {
  description = "What a policy needs for execute-api:ManageConnections on this stage."
  value       = "${local.stage_arn}/*/@connections/*"
}

output "route_keys" {
  description = "Route keys of the API."
  value       = sort(keys(local.routes))
}

output "access_log_group_name" {
  description = "Log group of the access log; null when there is none."
  value       = one(aws_cloudwatch_log_group.access[*].name)
}

output "execution_log_group_name" {
  description = "Log group of the execution log; null when logging_level is OFF."
  value       = one(aws_cloudwatch_log_group.execution[*].name)
}

output "custom_domain_target" {
  description = "What the DNS record of the custom domain points to; null without one."
  value       = one(aws_apigatewayv2_domain_name.this[*].domain_name_configuration[0].target_domain_name)
}
