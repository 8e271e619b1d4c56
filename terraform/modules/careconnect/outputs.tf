# SPDX-License-Identifier: Apache-2.0
output "websocket_api_endpoint" {
  description = "URL that clients connect to, stage included."
  value       = module.websocket.websocket_api_endpoint
}

output "websocket_management_endpoint" {
  description = "URL of the management API; functions get it as AWS_WEBSOCKET_API_GATEWAY_ENDPOINT."
  value       = module.websocket.websocket_management_endpoint
}

output "websocket_api_id" {
  description = "Id of the API."
  value       = module.websocket.websocket_api_id
}

output "websocket_api_execution_arn" {
  description = "ARN that permissions on the API begin with."
  value       = module.websocket.websocket_api_execution_arn
}

output "websocket_stage_invoke_url" {
  description = "The same address as websocket_api_endpoint, known once the stage is deployed."
  value       = module.websocket.websocket_stage_invoke_url
}

output "manage_connections_arn" {
  description = "What the functions' policies need for execute-api:ManageConnections."
  value       = module.websocket.manage_connections_arn
}
