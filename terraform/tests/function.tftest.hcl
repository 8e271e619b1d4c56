# SPDX-License-Identifier: Apache-2.0
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  function_name      = "one"
  description        = "For a test"
  package            = { filename = "package.zip", hash = "aGFzaA==" }
  subnet_ids         = ["subnet-1"]
  security_group_ids = ["sg-1"]
}

run "a_function_gets_no_right_that_nobody_asked_for" {
  command = plan

  module {
    source = "./modules/function"
  }

  assert {
    condition     = [for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : "${statement.Effect} ${statement.Sid}"] == ["Allow Log", "Allow Network", "Allow Trace", "Deny NetworkNotFromCode"]
    error_message = "log, network and trace"
  }
  assert {
    condition     = !can(regex("\"Action\":\\[?\"[a-z-]*:?\\*\"", aws_iam_role_policy.this.policy))
    error_message = "no statement allows everything of a service"
  }
  assert {
    condition     = aws_lambda_function.this.runtime == "provided.al2023" && one(aws_lambda_function.this.architectures) == "x86_64" && aws_lambda_function.this.handler == "bootstrap"
    error_message = "the program is its own runtime"
  }
  assert {
    condition     = aws_lambda_function.this.logging_config[0].log_group == "/aws/lambda/one" && aws_lambda_function.this.logging_config[0].log_format == "JSON"
    error_message = "JSON lines in a group of ours"
  }
  assert {
    condition     = length(aws_lambda_provisioned_concurrency_config.live) == 0 && aws_lambda_function.this.reserved_concurrent_executions == -1
    error_message = "no concurrency is paid for or set aside"
  }
}

run "rights_are_exactly_what_was_named" {
  command = plan

  module {
    source = "./modules/function"
  }

  variables {
    enable_xray_tracing     = false
    manage_connections_arns = ["arn:aws:execute-api:us-east-1:123456789012:api/test/*/@connections/*"]
    database_connect_arns   = ["arn:aws:rds-db:us-east-1:123456789012:dbuser:prx-1/switchboard_gateway"]
    secret_arns             = ["arn:aws:secretsmanager:us-east-1:123456789012:secret:s"]
    secret_kms_key_arns     = ["arn:aws:kms:us-east-1:123456789012:key/k"]
    provisioned_concurrency = 3
  }

  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement.Sid => [statement.Action, statement.Resource] if !contains(["Log", "Network", "NetworkNotFromCode"], statement.Sid) } == {
      ManageConnections = [["execute-api:ManageConnections"], ["arn:aws:execute-api:us-east-1:123456789012:api/test/*/@connections/*"]]
      Database          = [["rds-db:connect"], ["arn:aws:rds-db:us-east-1:123456789012:dbuser:prx-1/switchboard_gateway"]]
      Secrets           = [["secretsmanager:GetSecretValue"], ["arn:aws:secretsmanager:us-east-1:123456789012:secret:s"]]
      SecretKeys        = [["kms:Decrypt"], ["arn:aws:kms:us-east-1:123456789012:key/k"]]
    }
    error_message = "one action and one resource for each"
  }
  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement.Condition if statement.Sid == "SecretKeys"]) == { StringEquals = { "kms:ViaService" = ["secretsmanager.us-east-1.amazonaws.com"] } }
    error_message = "the key is for reading secrets"
  }
  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement.Condition.ArnEquals if statement.Sid == "NetworkNotFromCode"]) == { "lambda:SourceFunctionArn" = ["arn:aws:lambda:us-east-1:123456789012:function:one"] }
    error_message = "the code may not touch the network's interfaces"
  }
  assert {
    condition     = aws_lambda_function.this.tracing_config[0].mode == "PassThrough" && aws_lambda_provisioned_concurrency_config.live[0].provisioned_concurrent_executions == 3
    error_message = "tracing off, three instances warm"
  }
}

run "a_package_is_a_file_or_an_object" {
  command = plan

  module {
    source = "./modules/function"
  }

  variables {
    package = { filename = "package.zip", s3_bucket = "bucket", s3_key = "key", hash = "aGFzaA==" }
  }

  expect_failures = [var.package]
}

run "an_object_needs_its_hash" {
  command = plan

  module {
    source = "./modules/function"
  }

  variables {
    package = { s3_bucket = "bucket", s3_key = "key" }
  }

  expect_failures = [var.package]
}
