# SPDX-License-Identifier: Apache-2.0
# ---- addresses ----

output "websocket_api_id" {
  description = "Id of the API."
  value       = module.websocket.websocket_api_id
}

output "websocket_api_endpoint" {
  description = "URL that clients connect to, stage included."
  value       = module.websocket.websocket_api_endpoint
}

output "websocket_url" {
  description = "The same: the custom domain where there is one."
  value       = var.custom_domain == null ? module.websocket.websocket_api_endpoint : "wss://${var.custom_domain.domain_name}"
}

output "websocket_stage_url" {
  description = "Invoke URL of the deployed stage."
  value       = module.websocket.websocket_stage_invoke_url
}

output "websocket_stage_invoke_url" {
  description = "The same by another name."
  value       = module.websocket.websocket_stage_invoke_url
}

output "websocket_stage_name" {
  description = "Name of the stage."
  value       = module.websocket.websocket_stage_name
}

output "websocket_management_endpoint" {
  description = "URL of the management API (@connections), stage included."
  value       = module.websocket.websocket_management_endpoint
}

output "websocket_api_execution_arn" {
  description = "ARN that permissions on the API begin with."
  value       = module.websocket.websocket_api_execution_arn
}

output "manage_connections_arn" {
  description = "What another program's policy needs for execute-api:ManageConnections."
  value       = module.websocket.manage_connections_arn
}

output "route_keys" {
  description = "Route keys of the API."
  value       = module.websocket.route_keys
}

output "custom_domain_target" {
  description = "What the DNS record of the custom domain points to."
  value       = module.websocket.custom_domain_target
}

# ---- functions ----

output "connect_function_name" {
  description = "Function behind $connect."
  value       = module.function[local.function_of.connect].function_name
}

output "disconnect_function_name" {
  description = "Function behind $disconnect."
  value       = module.function[local.function_of.disconnect].function_name
}

output "message_function_name" {
  description = "Function behind all other routes, and of the schedules."
  value       = module.function[local.function_of.message].function_name
}

output "authorizer_function_name" {
  description = "Function that checks tokens; null when there is no authorizer."
  value       = local.enable_authorizer ? module.function[local.function_of.authorizer].function_name : null
}

output "migration_function_name" {
  description = "Function that migrates; null with run_migrations false."
  value       = one(module.migration[*].function_name)
}

output "message_function_arn" {
  description = "Alias that applications invoke with commands such as verify-email."
  value       = module.function[local.function_of.message].alias_arn
}

output "function_role_arns" {
  description = "Roles of the functions."
  value       = { for key, function in module.function : key => function.role_arn }
}

# ---- logs, alarms ----

output "function_log_group_names" {
  description = "Log groups of the functions."
  value       = { for key, function in module.function : key => function.log_group_name }
}

output "access_log_group_name" {
  description = "Log group of the API's access log."
  value       = module.websocket.access_log_group_name
}

output "execution_log_group_name" {
  description = "Log group of the API's execution log."
  value       = module.websocket.execution_log_group_name
}

output "dashboard_name" {
  description = "Name of the dashboard."
  value       = module.observability.dashboard_name
}

output "alarm_names" {
  description = "Names of the alarms."
  value       = module.observability.alarm_names
}

output "dead_letter_queue_name" {
  description = "Queue of the scheduled calls that Lambda did not take."
  value       = module.maintenance.dead_letter_queue_name
}

# ---- database ----

output "database_host" {
  description = "Host of the database itself."
  value       = module.postgres.database_host
}

output "database_proxy_host" {
  description = "Host that functions connect to: the proxy, or the database when there is none."
  value       = module.postgres.host
}

output "database_name" {
  description = "Name of the database."
  value       = local.database_name
}

output "connections_table_name" {
  description = "Table with a row for every connection."
  value       = "switchboard.websocket_connections"
}

output "master_secret_arn" {
  description = "Secret with the owner's name and password."
  value       = module.postgres.master_secret_arn
}

output "migration_result" {
  description = "What the last migration answered."
  value       = one(module.migration[*].result)
}

output "nat_public_ips" {
  description = "Addresses that the functions' calls come from."
  value       = try(module.network[0].nat_public_ips, [])
}

# ---- to try it ----

output "test_connection_url" {
  description = "A URL to connect to; put a token of yours where it says so."
  value       = "${module.websocket.websocket_api_endpoint}${local.enable_authorizer ? "?token=YOUR_TOKEN" : ""}"
}

output "test_commands" {
  description = "Commands to paste: a client, the log, the table (psql from inside the network)."
  value = {
    connect     = "npx wscat -c '${module.websocket.websocket_api_endpoint}${local.enable_authorizer ? "?token=YOUR_TOKEN" : ""}'"
    logs        = "aws logs tail --region ${var.aws_region} --follow ${module.function[local.function_of.message].log_group_name}"
    invoke      = "aws lambda invoke --region ${var.aws_region} --function-name ${module.function[local.function_of.message].alias_arn} --cli-binary-format raw-in-base64-out --payload '{\"op\":\"deliver\"}' /dev/stdout"
    connections = "psql 'host=${module.postgres.database_host} dbname=${local.database_name} user=${local.owner} sslmode=verify-full sslrootcert=ca.pem' -c 'select * from switchboard.live_connections'"
  }
}
