# SPDX-License-Identifier: Apache-2.0
# The stack as a whole, made of mocks: no account, no credentials.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  lambda_package = { filename = "package.zip", hash = "aGFzaA==" }
}

run "one_function_is_behind_everything_by_default" {
  command = plan

  override_resource {
    target          = module.postgres.aws_security_group.proxy
    override_during = plan
    values          = { id = "sg-proxy" }
  }

  override_resource {
    target          = module.postgres.aws_security_group.database
    override_during = plan
    values          = { id = "sg-database" }
  }

  assert {
    condition     = keys(module.function) == ["main"] && output.connect_function_name == "websocket-api-dev-main" && output.disconnect_function_name == output.connect_function_name && output.message_function_name == output.connect_function_name
    error_message = "all routes have the same function"
  }
  assert {
    condition     = output.route_keys == tolist(["$connect", "$default", "$disconnect"]) && local.throttling_rate_limit == 100
    error_message = "careconnect has the three built-in routes and its limit"
  }
  assert {
    condition     = output.authorizer_function_name == null && output.test_connection_url == output.websocket_api_endpoint
    error_message = "clients of careconnect connect without a token"
  }
  assert {
    condition     = output.websocket_api_endpoint == "wss://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/staging" && output.websocket_management_endpoint == "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/staging"
    error_message = "both endpoints have the stage"
  }
  assert {
    condition     = output.manage_connections_arn == "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/staging/*/@connections/*"
    error_message = "manage_connections_arn is this stage only"
  }
  assert {
    condition     = local.environment.AWS_WEBSOCKET_API_GATEWAY_ENDPOINT == output.websocket_management_endpoint && local.environment.WEBSOCKET_API_ENDPOINT == output.websocket_management_endpoint
    error_message = "the management endpoint has both of its names"
  }
  assert {
    condition     = local.environment.SWITCHBOARD_DATABASE_AUTH == "iam" && strcontains(local.environment.SWITCHBOARD_DATABASE_URL, "host=proxy.example user=switchboard_gateway ") && !strcontains(local.environment.SWITCHBOARD_DATABASE_URL, "password")
    error_message = "functions log in at the proxy with a token"
  }
  assert {
    condition     = strcontains(local.migration_environment.SWITCHBOARD_DATABASE_URL, "host=cluster.example user=switchboard ")
    error_message = "the migration connects to the database itself, as its owner"
  }
  assert {
    condition     = alltrue([for url in [local.environment.SWITCHBOARD_DATABASE_URL, local.migration_environment.SWITCHBOARD_DATABASE_URL] : strcontains(url, "sslmode=verify-full")])
    error_message = "the server's certificate is verified"
  }
  assert {
    condition     = !anytrue([for name in ["AWS_REGION", "SWITCHBOARD_JWT_ISSUER", "SWITCHBOARD_CONNECTION_TTL_MINUTES"] : contains(keys(local.environment), name)])
    error_message = "reserved names, and settings that nobody made, are absent"
  }
  assert {
    condition     = aws_vpc_security_group_egress_rule.functions_database.referenced_security_group_id == "sg-proxy" && aws_vpc_security_group_egress_rule.migration_database.referenced_security_group_id == "sg-database"
    error_message = "functions reach the proxy, the migration the database"
  }
  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_egress_rule.https : rule.from_port == 443 && rule.to_port == 443 && rule.ip_protocol == "tcp"])
    error_message = "the way out is HTTPS"
  }
}

run "split_makes_a_function_of_each_duty" {
  command = plan

  variables {
    profile              = "chatbot"
    function_layout      = "split"
    project_name         = "ws"
    environment          = "prod"
    stack_name           = "blue"
    default_tags         = { Owner = "a", Team = "t" }
    additional_tags      = { Owner = "b" }
    routes               = ["app", "shared"]
    connection_ttl_hours = 1.5
    jwt_secret_arn       = "arn:aws:secretsmanager:us-east-1:123456789012:secret:jwt"
    lambda_environment   = { SWITCHBOARD_RATE_LIMIT_USER = "10/s:20" }
  }

  assert {
    condition     = keys(module.function) == ["authorizer", "connect", "disconnect", "message"] && output.authorizer_function_name == "ws-prod-blue-authorizer" && output.message_function_name == "ws-prod-blue-message"
    error_message = "there are four functions, called by what they do"
  }
  assert {
    condition     = [for key, function in local.functions : key if function.sends] == ["connect", "disconnect", "message"]
    error_message = "the authorizer may not post to connections"
  }
  assert {
    condition     = strcontains(output.test_connection_url, "?token=YOUR_TOKEN")
    error_message = "test_connection_url has a placeholder"
  }
  assert {
    condition     = local.log_retention_days == 365
    error_message = "audit lines are kept for a year"
  }
  assert {
    condition     = local.tags == { Project = "ws", Environment = "prod", ManagedBy = "terraform", Stack = "blue", Owner = "b", Team = "t" }
    error_message = "additional_tags win"
  }
  assert {
    condition     = local.environment.SWITCHBOARD_ROUTES == "app,shared" && local.environment.SWITCHBOARD_CONNECTION_TTL_MINUTES == "90" && local.environment.SWITCHBOARD_RATE_LIMIT_USER == "10/s:20"
    error_message = "settings arrive"
  }
  assert {
    condition     = local.environment.SWITCHBOARD_JWT_SECRET_ARN == var.jwt_secret_arn && !contains(keys(local.environment), "SWITCHBOARD_JWT_SECRET")
    error_message = "the key of tokens is named, not given"
  }
}

run "what_is_switched_off_is_not_made" {
  command = plan

  variables {
    profile         = "chat"
    function_layout = "split"
    existing_network = {
      vpc_id              = "vpc-1"
      private_subnet_ids  = ["subnet-1", "subnet-2"]
      database_subnet_ids = ["subnet-3", "subnet-4"]
    }
    enable_encryption = false
    enable_rds_proxy  = false
    run_migrations    = false
  }

  assert {
    condition     = keys(module.function) == ["connect", "disconnect", "message"]
    error_message = "without an authorizer there are three functions"
  }
  assert {
    condition     = length(module.network) == 0 && length(module.encryption) == 0 && length(module.migration) == 0
    error_message = "no network, no key, no migration"
  }
  assert {
    condition     = aws_security_group.functions.vpc_id == "vpc-1" && output.nat_public_ips == []
    error_message = "security groups belong to the given network"
  }
  assert {
    condition     = output.database_proxy_host == "cluster.example"
    error_message = "without a proxy functions connect to the database"
  }
}

run "what_cannot_work_is_refused" {
  command = plan

  variables {
    nat_gateway            = "none"
    profile                = "messages"
    function_layout        = "many"
    environment            = "d_v"
    log_retention_days     = 15
    connection_ttl_hours   = 169
    connection_ttl_minutes = 0
    jwt_jwks_url           = "http://keys.example"
    lambda_environment     = { AWS_REGION = "eu-west-1" }
  }

  expect_failures = [
    var.nat_gateway,
    var.profile,
    var.function_layout,
    var.environment,
    var.log_retention_days,
    var.connection_ttl_hours,
    var.connection_ttl_minutes,
    var.jwt_jwks_url,
    var.lambda_environment,
  ]
}
