# SPDX-License-Identifier: Apache-2.0
# The smaller modules, one after the other.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

# ---- network ----

run "functions_leave_through_one_gateway" {
  command = plan

  override_resource {
    target          = aws_route_table.database
    override_during = plan
    values          = { id = "rtb-database" }
  }

  module {
    source = "./modules/network"
  }

  variables {
    name = "net"
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 1 && length(aws_route.private) == 2
    error_message = "one gateway serves both zones"
  }
  assert {
    condition     = [for subnet in aws_subnet.private : subnet.cidr_block] == ["10.20.64.0/20", "10.20.80.0/20"] && [for subnet in aws_subnet.database : subnet.cidr_block] == ["10.20.128.0/20", "10.20.144.0/20"]
    error_message = "subnets do not overlap"
  }
  assert {
    condition     = alltrue([for association in aws_route_table_association.database : association.route_table_id == "rtb-database"]) && alltrue([for route in aws_route.private : route.route_table_id == "rtb-0"])
    error_message = "the database has no way out"
  }
  assert {
    condition     = length(aws_vpc_endpoint.this) == 0 && length(aws_flow_log.this) == 0
    error_message = "what costs is made when asked for"
  }
}

run "a_gateway_for_each_zone" {
  command = plan

  override_resource {
    target          = aws_nat_gateway.this["us-east-1a"]
    override_during = plan
    values          = { id = "nat-a" }
  }

  override_resource {
    target          = aws_nat_gateway.this["us-east-1b"]
    override_during = plan
    values          = { id = "nat-b" }
  }

  override_resource {
    target          = aws_nat_gateway.this["us-east-1c"]
    override_during = plan
    values          = { id = "nat-c" }
  }

  module {
    source = "./modules/network"
  }

  variables {
    name                    = "net"
    availability_zone_count = 3
    nat_gateway             = "per_az"
    interface_endpoints     = ["logs", "secretsmanager"]
    enable_flow_logs        = true
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 3 && [for route in aws_route.private : route.nat_gateway_id] == ["nat-a", "nat-b", "nat-c"]
    error_message = "each zone has its own gateway"
  }
  assert {
    condition     = [for endpoint in aws_vpc_endpoint.this : endpoint.service_name] == ["com.amazonaws.us-east-1.logs", "com.amazonaws.us-east-1.secretsmanager"]
    error_message = "endpoints as asked for"
  }
  assert {
    condition     = aws_flow_log.this[0].traffic_type == "REJECT"
    error_message = "flow logs show what was rejected"
  }
}

run "no_endpoint_for_execute_api" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    name                = "net"
    interface_endpoints = ["execute-api"]
    cidr_block          = "10.0.0.0/24"
  }

  expect_failures = [var.interface_endpoints, var.cidr_block]
}

# ---- encryption ----

run "the_key_is_for_the_logs_of_the_stack" {
  command = plan

  module {
    source = "./modules/encryption"
  }

  variables {
    name               = "key"
    log_group_patterns = ["/aws/lambda/x-*"]
  }

  assert {
    condition     = aws_kms_key.this.enable_key_rotation && aws_kms_key.this.deletion_window_in_days == 30
    error_message = "the key rotates and can be taken back"
  }
  assert {
    condition     = jsondecode(aws_kms_key.this.policy).Statement[1].Condition.ArnLike == { "kms:EncryptionContext:aws:logs:arn" = ["arn:aws:logs:us-east-1:123456789012:log-group:/aws/lambda/x-*"] } && jsondecode(aws_kms_key.this.policy).Statement[1].Principal == { Service = "logs.us-east-1.amazonaws.com" }
    error_message = "CloudWatch uses it for these groups only"
  }
}

# ---- postgres ----

run "a_cluster_behind_a_proxy" {
  command = plan

  override_resource {
    target          = aws_security_group.proxy
    override_during = plan
    values          = { id = "sg-proxy" }
  }

  override_resource {
    target          = aws_security_group.database
    override_during = plan
    values          = { id = "sg-database" }
  }

  module {
    source = "./modules/postgres"
  }

  variables {
    name                     = "database"
    vpc_id                   = "vpc-1"
    subnet_ids               = ["subnet-1", "subnet-2"]
    client_security_group_id = "sg-client"
    admin_security_group_id  = "sg-admin"
  }

  assert {
    condition     = length(aws_rds_cluster_instance.this) == 1 && length(aws_db_instance.this) == 0
    error_message = "a cluster with one instance"
  }
  assert {
    condition     = aws_rds_cluster.this[0].manage_master_user_password && aws_rds_cluster.this[0].iam_database_authentication_enabled && aws_rds_cluster.this[0].storage_encrypted && aws_rds_cluster.this[0].deletion_protection
    error_message = "no password of ours, tokens, encryption, protection"
  }
  assert {
    condition     = aws_db_proxy.this[0].default_auth_scheme == "IAM_AUTH" && aws_db_proxy.this[0].require_tls && length(aws_db_proxy.this[0].auth) == 0
    error_message = "the proxy takes tokens over TLS and knows no secret"
  }
  assert {
    condition     = one(jsondecode(aws_iam_role_policy.proxy[0].policy).Statement[0].Resource) == "arn:aws:rds-db:us-east-1:123456789012:dbuser:cluster-RESOURCE/switchboard_gateway" && output.connect_arn == "arn:aws:rds-db:us-east-1:123456789012:dbuser:prx-0123/switchboard_gateway"
    error_message = "the proxy may log in to the cluster, the functions to the proxy, as one role"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.database["client"].referenced_security_group_id == "sg-proxy" && aws_vpc_security_group_ingress_rule.database["admin"].referenced_security_group_id == "sg-admin" && aws_vpc_security_group_ingress_rule.proxy[0].referenced_security_group_id == "sg-client"
    error_message = "functions reach the proxy, the proxy and the migration reach the database"
  }
  assert {
    condition     = contains([for parameter in aws_rds_cluster_parameter_group.this[0].parameter : "${parameter.name}=${parameter.value}"], "rds.force_ssl=1") && aws_rds_cluster_parameter_group.this[0].family == "aurora-postgresql15"
    error_message = "TLS is forced"
  }
}

run "one_instance_without_a_proxy" {
  command = plan

  module {
    source = "./modules/postgres"
  }

  variables {
    name                     = "database"
    mode                     = "instance"
    engine_version           = "16.4"
    instance_count           = 2
    enable_proxy             = false
    vpc_id                   = "vpc-1"
    subnet_ids               = ["subnet-1", "subnet-2"]
    client_security_group_id = "sg-client"
    admin_security_group_id  = "sg-admin"
  }

  assert {
    condition     = length(aws_rds_cluster.this) == 0 && length(aws_db_proxy.this) == 0 && aws_db_instance.this[0].multi_az && !aws_db_instance.this[0].publicly_accessible
    error_message = "an instance with a standby, not public"
  }
  assert {
    condition     = output.host == "database.example" && output.connect_arn == "arn:aws:rds-db:us-east-1:123456789012:dbuser:db-RESOURCE/switchboard_gateway"
    error_message = "functions log in to the instance"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.database["client"].referenced_security_group_id == "sg-client" && aws_db_parameter_group.this[0].family == "postgres16"
    error_message = "functions reach the instance"
  }
  assert {
    condition     = contains([for parameter in aws_db_parameter_group.this[0].parameter : "${parameter.name}=${parameter.value}"], "idle_session_timeout=900000")
    error_message = "what a vanished function left is closed"
  }
}

# ---- migration ----

run "a_new_package_migrates_again" {
  command = plan

  module {
    source = "./modules/migration"
  }

  variables {
    function_name      = "migrate"
    package            = { filename = "package.zip", hash = "aGFzaA==" }
    environment        = { SWITCHBOARD_DATABASE_AUTH = "secret" }
    service_role       = "switchboard_gateway"
    subnet_ids         = ["subnet-1"]
    security_group_ids = ["sg-1"]
    owner_secret_arn   = "arn:aws:secretsmanager:us-east-1:123456789012:secret:owner"
  }

  assert {
    condition     = jsondecode(aws_lambda_invocation.migrate.input) == { op = "migrate", service_role = "switchboard_gateway" } && aws_lambda_invocation.migrate.triggers.package == "aGFzaA==" && aws_lambda_invocation.migrate.qualifier == "live"
    error_message = "the invocation depends on the package"
  }
}

# ---- maintenance ----

run "schedules_call_one_function_and_keep_what_is_lost" {
  command = plan

  module {
    source = "./modules/maintenance"
  }

  variables {
    name         = "jobs"
    function_arn = "arn:aws:lambda:us-east-1:123456789012:function:f:live"
    schedules    = { cleanup = { expression = "rate(15 minutes)", input = { op = "cleanup" } } }
  }

  assert {
    condition     = jsondecode(aws_scheduler_schedule.this["cleanup"].target[0].input) == { op = "cleanup" } && aws_scheduler_schedule.this["cleanup"].target[0].dead_letter_config[0].arn == "arn:aws:sqs:us-east-1:123456789012:queue"
    error_message = "the function is told what to do"
  }
  assert {
    condition     = { for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement.Sid => [statement.Action, statement.Resource] } == { Call = [["lambda:InvokeFunction"], ["arn:aws:lambda:us-east-1:123456789012:function:f:live"]], DeadLetters = [["sqs:SendMessage"], ["arn:aws:sqs:us-east-1:123456789012:queue"]] }
    error_message = "one function, one queue"
  }
  assert {
    condition     = jsondecode(aws_iam_role.this.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceArn"] == "arn:aws:scheduler:us-east-1:123456789012:schedule-group/group"
    error_message = "only schedules of this group have the role"
  }
}

run "a_schedule_is_an_expression" {
  command = plan

  module {
    source = "./modules/maintenance"
  }

  variables {
    name         = "jobs"
    function_arn = "arn:aws:lambda:us-east-1:123456789012:function:f:live"
    schedules    = { cleanup = { expression = "15 minutes", input = {} } }
  }

  expect_failures = [var.schedules]
}

# ---- observability ----

run "every_alarm_is_quiet_without_data" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    name                   = "watch"
    api_id                 = "a1"
    stage_name             = "test"
    function_names         = { main = "f" }
    database_mode          = "aurora-serverless-v2"
    database_identifier    = "database"
    enable_proxy           = true
    proxy_name             = "proxy"
    dead_letter_queue_name = "queue"
    alarm_topic_arns       = ["arn:aws:sns:us-east-1:123456789012:topic"]
    thresholds             = { client_errors = 7, function_errors = null }
  }

  assert {
    condition     = keys(aws_cloudwatch_metric_alarm.this) == ["client-errors", "database-capacity", "database-cpu", "dead-letters", "execution-errors", "integration-errors", "integration-latency", "main-errors", "main-throttles", "proxy-borrow-latency"]
    error_message = "all alarms are there"
  }
  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : alarm.treat_missing_data == "notBreaching" && length(alarm.alarm_actions) == 1 && length(alarm.ok_actions) == 1])
    error_message = "silence is good news, the topic hears of the rest"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.this["client-errors"].threshold == 7 && aws_cloudwatch_metric_alarm.this["main-errors"].threshold == 1
    error_message = "thresholds are as said, or the defaults"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.this["integration-latency"].extended_statistic == "p99" && aws_cloudwatch_metric_alarm.this["integration-latency"].namespace == "AWS/ApiGateway"
    error_message = "latency is a percentile of the API's metric"
  }
  assert {
    condition     = length(jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets) == 9
    error_message = "nine charts"
  }
}

run "an_instance_has_a_disk" {
  command = plan

  module {
    source = "./modules/observability"
  }

  variables {
    name                   = "watch"
    api_id                 = "a1"
    stage_name             = "test"
    function_names         = { main = "f" }
    database_mode          = "instance"
    database_identifier    = "database"
    enable_proxy           = false
    dead_letter_queue_name = "queue"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["database-storage"].comparison_operator == "LessThanThreshold" && aws_cloudwatch_metric_alarm.this["database-storage"].dimensions == tomap({ DBInstanceIdentifier = "database" })
    error_message = "its free space is watched"
  }
  assert {
    condition     = !contains(keys(aws_cloudwatch_metric_alarm.this), "database-capacity") && !contains(keys(aws_cloudwatch_metric_alarm.this), "proxy-borrow-latency")
    error_message = "what is not there is not watched"
  }
}

# ---- careconnect ----

run "careconnect_has_the_interface_of_the_module_it_replaces" {
  command = plan

  module {
    source = "./modules/careconnect"
  }

  variables {
    default_tags                    = { Project = "careconnect" }
    stage_name                      = "prod"
    connect_lambda_function_name    = "backend"
    connect_lambda_invoke_arn       = "arn:aws:apigateway:us-east-1:lambda:path/backend"
    disconnect_lambda_function_name = "backend"
    disconnect_lambda_invoke_arn    = "arn:aws:apigateway:us-east-1:lambda:path/backend"
    default_lambda_function_name    = "backend"
    default_lambda_invoke_arn       = "arn:aws:apigateway:us-east-1:lambda:path/backend"
  }

  assert {
    condition     = output.websocket_api_endpoint == "wss://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod" && output.websocket_management_endpoint == "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
    error_message = "both endpoints have the stage"
  }
  assert {
    condition     = output.websocket_api_id == "a1b2c3d4e5" && output.websocket_api_execution_arn == "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5"
    error_message = "id and ARN are the API's"
  }
  assert {
    condition     = module.websocket.route_keys == tolist(["$connect", "$default", "$disconnect"])
    error_message = "three routes"
  }
}
