# SPDX-License-Identifier: Apache-2.0
# The stack.  No module waits for another as a whole (no depends_on): the API needs the functions, and
# the functions need the API's address.

module "encryption" {
  source = "./modules/encryption"
  count  = var.enable_encryption ? 1 : 0

  name                 = local.name
  deletion_window_days = var.kms_key_deletion_window
  log_group_patterns = [
    "/aws/apigateway/*",
    "/aws/lambda/${local.name}-*",
    "/aws/rds/*/${lower(local.name)}*",
    "/switchboard/${local.name}/*",
  ]
}

module "network" {
  source = "./modules/network"
  count  = var.existing_network == null ? 1 : 0

  name                = local.name
  cidr_block          = var.vpc_cidr_block
  nat_gateway         = var.nat_gateway
  interface_endpoints = var.interface_endpoints
  enable_flow_logs    = var.enable_flow_logs
  log_retention_days  = local.log_retention_days
  log_kms_key_arn     = local.kms_key_arn
}

module "postgres" {
  source = "./modules/postgres"

  name                     = lower(local.name)
  mode                     = var.database_mode
  engine_version           = var.database_engine_version
  min_capacity             = var.database_min_capacity
  max_capacity             = var.database_max_capacity
  instance_class           = var.database_instance_class
  instance_count           = var.database_instance_count
  database_name            = local.database_name
  owner                    = local.owner
  service_user             = local.service_user
  vpc_id                   = local.network.vpc_id
  subnet_ids               = local.network.database_subnet_ids
  client_security_group_id = aws_security_group.functions.id
  admin_security_group_id  = aws_security_group.migration.id
  enable_proxy             = var.enable_rds_proxy
  backup_retention_days    = var.backup_retention_days
  deletion_protection      = var.deletion_protection
  skip_final_snapshot      = var.skip_final_snapshot
  log_retention_days       = local.log_retention_days
  kms_key_arn              = local.kms_key_arn
  permissions_boundary_arn = var.permissions_boundary_arn
}

module "migration" {
  source = "./modules/migration"
  count  = var.run_migrations ? 1 : 0

  function_name            = "${local.name}-migrate"
  package                  = var.lambda_package
  architecture             = var.lambda_architecture
  environment              = local.migration_environment
  service_role             = local.service_user
  subnet_ids               = local.network.private_subnet_ids
  security_group_ids       = [aws_security_group.migration.id]
  owner_secret_arn         = module.postgres.master_secret_arn
  secret_kms_key_arns      = local.kms_key_arns
  log_retention_days       = local.log_retention_days
  log_kms_key_arn          = local.kms_key_arn
  permissions_boundary_arn = var.permissions_boundary_arn
}

module "function" {
  source   = "./modules/function"
  for_each = local.functions

  function_name            = "${local.name}-${each.key}"
  description              = each.value.description
  package                  = var.lambda_package
  architecture             = var.lambda_architecture
  memory_size              = each.key == "message" ? coalesce(var.lambda_message_memory_size, var.lambda_memory_size) : var.lambda_memory_size
  timeout                  = each.key == "message" ? coalesce(var.lambda_message_timeout, var.lambda_timeout) : var.lambda_timeout
  reserved_concurrency     = each.value.takes_messages ? var.lambda_reserved_concurrency : -1
  provisioned_concurrency  = each.value.takes_messages ? var.lambda_provisioned_concurrency : 0
  environment              = local.environment
  subnet_ids               = local.network.private_subnet_ids
  security_group_ids       = [aws_security_group.functions.id]
  log_level                = var.log_level
  log_retention_days       = local.log_retention_days
  log_kms_key_arn          = local.kms_key_arn
  enable_xray_tracing      = var.enable_xray_tracing
  manage_connections_arns  = each.value.sends ? [module.websocket.manage_connections_arn] : []
  database_connect_arns    = [module.postgres.connect_arn]
  secret_arns              = var.jwt_secret_arn == null ? [] : [var.jwt_secret_arn]
  secret_kms_key_arns      = var.jwt_secret_kms_key_arn == null ? [] : [var.jwt_secret_kms_key_arn]
  permissions_boundary_arn = var.permissions_boundary_arn
  publish_after            = one(module.migration[*].result)
}

module "websocket" {
  source = "./modules/websocket"

  api_name                         = coalesce(var.api_name, local.name)
  api_description                  = var.api_description
  stage_name                       = var.stage_name
  route_selection_expression       = local.selection_expression
  custom_routes                    = local.custom_routes
  routes_with_response             = var.routes_with_response
  integration_timeout_milliseconds = var.integration_timeout_milliseconds

  connect_lambda_function_name    = module.function[local.function_of.connect].function_name
  connect_lambda_invoke_arn       = module.function[local.function_of.connect].alias_invoke_arn
  disconnect_lambda_function_name = module.function[local.function_of.disconnect].function_name
  disconnect_lambda_invoke_arn    = module.function[local.function_of.disconnect].alias_invoke_arn
  default_lambda_function_name    = module.function[local.function_of.message].function_name
  default_lambda_invoke_arn       = module.function[local.function_of.message].alias_invoke_arn
  lambda_qualifier                = module.function[local.function_of.message].alias_name

  authorizer = local.enable_authorizer ? {
    function_name    = module.function[local.function_of.authorizer].function_name
    invoke_arn       = module.function[local.function_of.authorizer].alias_invoke_arn
    qualifier        = module.function[local.function_of.authorizer].alias_name
    identity_sources = var.authorizer_identity_sources
  } : null

  throttling_burst_limit      = var.throttling_burst_limit
  throttling_rate_limit       = local.throttling_rate_limit
  route_throttling            = var.route_throttling
  enable_detailed_metrics     = var.enable_detailed_metrics
  enable_data_trace           = var.enable_data_trace
  logging_level               = var.logging_level
  enable_access_log           = var.enable_access_log
  access_log_group_name       = "/switchboard/${local.name}/${var.stage_name}/access"
  log_retention_days          = local.log_retention_days
  kms_key_arn                 = local.kms_key_arn
  manage_account_logging_role = var.manage_account_logging_role
  custom_domain               = var.custom_domain
}

module "maintenance" {
  source = "./modules/maintenance"

  name         = local.name
  function_arn = module.function[local.function_of.message].alias_arn
  schedules = {
    cleanup = {
      description = "Deactivates expired connections, deletes old rows"
      expression  = var.cleanup_schedule
      input       = { op = "cleanup" }
    }
    deliver = {
      description = "Delivers what nobody else does"
      expression  = var.delivery_schedule
      input       = { op = "deliver" }
    }
  }
  permissions_boundary_arn = var.permissions_boundary_arn
}

module "observability" {
  source = "./modules/observability"

  name                   = local.name
  api_id                 = module.websocket.websocket_api_id
  stage_name             = var.stage_name
  function_names         = { for key, function in module.function : key => function.function_name }
  database_mode          = var.database_mode
  database_identifier    = module.postgres.identifier
  enable_proxy           = var.enable_rds_proxy
  proxy_name             = module.postgres.proxy_name
  dead_letter_queue_name = module.maintenance.dead_letter_queue_name
  alarm_topic_arns       = var.alarm_topic_arns
  thresholds             = var.alarm_thresholds
}
