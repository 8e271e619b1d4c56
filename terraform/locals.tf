# SPDX-License-Identifier: Apache-2.0
# What follows from the variables: names, what the profile asks of the API, and the functions' settings.

locals {
  name = join("-", compact([var.project_name, var.environment, var.stack_name]))

  tags = merge(
    {
      Project     = var.project_name
      Environment = var.environment
      ManagedBy   = "terraform"
    },
    var.stack_name == null ? {} : { Stack = var.stack_name },
    var.default_tags,
    var.additional_tags,
  )

  # ---- what the profiles ask of the API: routes and selection as their clients know them ----

  profiles = {
    careconnect = {
      route_selection_expression = "$request.body.action"
      custom_routes              = []
      throttling_rate_limit      = 100
      log_retention_days         = 14
      authorizer                 = false
    }
    broadcast = {
      route_selection_expression = "$request.body.action"
      custom_routes              = ["sendMessage"]
      throttling_rate_limit      = 1000
      log_retention_days         = 14
      authorizer                 = false
    }
    chat = {
      route_selection_expression = "$request.body.type"
      custom_routes              = ["chat", "history", "join_room", "leave_room", "ping", "private_message", "room_list", "typing_indicator"]
      throttling_rate_limit      = 1000
      log_retention_days         = 14
      authorizer                 = false
    }
    chatbot = {
      route_selection_expression = "$request.body.action"
      custom_routes              = ["chat_message"]
      throttling_rate_limit      = 1000
      log_retention_days         = 365
      authorizer                 = true
    }
  }
  profile = local.profiles[var.profile]

  enable_authorizer     = var.enable_authorizer != null ? var.enable_authorizer : local.profile.authorizer
  custom_routes         = var.custom_routes != null ? var.custom_routes : toset(local.profile.custom_routes)
  throttling_rate_limit = var.throttling_rate_limit != null ? var.throttling_rate_limit : local.profile.throttling_rate_limit
  log_retention_days    = var.log_retention_days != null ? var.log_retention_days : local.profile.log_retention_days
  selection_expression  = coalesce(var.route_selection_expression, local.profile.route_selection_expression)
  connection_ttl_minutes = (
    var.connection_ttl_minutes != null ? var.connection_ttl_minutes :
    var.connection_ttl_hours != null ? ceil(var.connection_ttl_hours * 60) : null
  )

  # ---- functions ----

  # Which function does what.
  function_of = {
    for duty in ["connect", "disconnect", "message", "authorizer"] :
    duty => var.function_layout == "single" ? "main" : duty
  }

  functions = {
    for key in distinct([for duty, key in local.function_of : key if duty != "authorizer" || local.enable_authorizer]) :
    key => {
      description = {
        main       = "All routes, the authorizer and the schedules"
        connect    = "$connect"
        disconnect = "$disconnect"
        message    = "Messages and the schedules"
        authorizer = "Checks tokens before $connect"
      }[key]
      takes_messages = key == local.function_of.message
      sends          = key != "authorizer"
    }
  }

  # The settings of the program, one name each.  None is a secret.
  environment = merge(
    {
      AWS_WEBSOCKET_API_GATEWAY_ENDPOINT      = module.websocket.websocket_management_endpoint
      WEBSOCKET_API_ENDPOINT                  = module.websocket.websocket_management_endpoint
      SWITCHBOARD_API_ID                      = module.websocket.websocket_api_id
      SWITCHBOARD_STAGE                       = var.stage_name
      SWITCHBOARD_PROFILE                     = var.profile
      SWITCHBOARD_ROUTES                      = join(",", var.routes)
      SWITCHBOARD_DATABASE_URL                = local.service_conninfo
      SWITCHBOARD_DATABASE_AUTH               = "iam"
      SWITCHBOARD_DATABASE_POOL_SIZE          = "1"
      SWITCHBOARD_DATABASE_CONNECT_TIMEOUT_MS = "3000"
      SWITCHBOARD_INTEGRATION_TIMEOUT_MS      = tostring(var.integration_timeout_milliseconds)
      SWITCHBOARD_TLS_CA_FILE                 = var.ca_file
      SWITCHBOARD_LOG_FORMAT                  = "json"
      SWITCHBOARD_LOG_LEVEL                   = var.log_level
    },
    {
      for name, value in {
        SWITCHBOARD_CONNECTION_TTL_MINUTES = local.connection_ttl_minutes
        SWITCHBOARD_JWT_ISSUER             = var.jwt_issuer
        SWITCHBOARD_JWT_AUDIENCE           = var.jwt_audience
        SWITCHBOARD_JWT_JWKS_URL           = var.jwt_jwks_url
        SWITCHBOARD_JWT_SECRET_ARN         = var.jwt_secret_arn
      } : name => tostring(value) if value != null
    },
    var.lambda_environment,
  )

  # The owner's: the database itself, with the password that RDS keeps.
  migration_environment = {
    SWITCHBOARD_DATABASE_URL        = local.owner_conninfo
    SWITCHBOARD_DATABASE_AUTH       = "secret"
    SWITCHBOARD_DATABASE_SECRET_ARN = module.postgres.master_secret_arn
    SWITCHBOARD_TLS_CA_FILE         = var.ca_file
    SWITCHBOARD_LOG_FORMAT          = "json"
    SWITCHBOARD_LOG_LEVEL           = var.log_level
  }

  # ---- database ----

  database_name = "switchboard"
  owner         = "switchboard"
  service_user  = "switchboard_gateway"

  # tcp_user_timeout: a path that was dropped silently would hang an invocation for minutes.
  conninfo_tail    = "port=${module.postgres.port} dbname=${local.database_name} sslmode=verify-full sslrootcert=${var.ca_file} connect_timeout=3 tcp_user_timeout=3000 gssencmode=disable"
  service_conninfo = "host=${module.postgres.host} user=${local.service_user} ${local.conninfo_tail}"
  owner_conninfo   = "host=${module.postgres.database_host} user=${local.owner} ${local.conninfo_tail}"

  # ---- network and keys ----

  network = {
    vpc_id              = var.existing_network != null ? var.existing_network.vpc_id : one(module.network[*].vpc_id)
    private_subnet_ids  = var.existing_network != null ? var.existing_network.private_subnet_ids : one(module.network[*].private_subnet_ids)
    database_subnet_ids = var.existing_network != null ? var.existing_network.database_subnet_ids : one(module.network[*].database_subnet_ids)
  }
  kms_key_arn  = one(module.encryption[*].key_arn)
  kms_key_arns = var.enable_encryption ? [local.kms_key_arn] : []
}
