# SPDX-License-Identifier: Apache-2.0
# A function of the package: role, log group, code, alias.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  # Named, not referred to: the role is there before the function.
  function_arn = "arn:${data.aws_partition.current.partition}:lambda:${data.aws_region.current.region}:${data.aws_caller_identity.current.account_id}:function:${var.function_name}"

  network_actions = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
  ]

  statements = concat(
    [
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["${aws_cloudwatch_log_group.this.arn}:*"]
      },
      # Lambda attaches the function to the network with this role; EC2 knows no narrower resource.
      {
        Sid      = "Network"
        Effect   = "Allow"
        Action   = local.network_actions
        Resource = ["*"]
      },
    ],
    var.enable_xray_tracing ? [{
      Sid      = "Trace"
      Effect   = "Allow"
      Action   = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
      Resource = ["*"]
    }] : [],
    length(var.manage_connections_arns) > 0 ? [{
      Sid      = "ManageConnections"
      Effect   = "Allow"
      Action   = ["execute-api:ManageConnections"]
      Resource = var.manage_connections_arns
    }] : [],
    length(var.database_connect_arns) > 0 ? [{
      Sid      = "Database"
      Effect   = "Allow"
      Action   = ["rds-db:connect"]
      Resource = var.database_connect_arns
    }] : [],
    length(var.secret_arns) > 0 ? [{
      Sid      = "Secrets"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue"]
      Resource = var.secret_arns
    }] : [],
  )

  conditional_statements = concat(
    # ... and the code itself may not use those rights.
    [{
      Sid       = "NetworkNotFromCode"
      Effect    = "Deny"
      Action    = local.network_actions
      Resource  = ["*"]
      Condition = { ArnEquals = { "lambda:SourceFunctionArn" = [local.function_arn] } }
    }],
    length(var.secret_kms_key_arns) > 0 ? [{
      Sid       = "SecretKeys"
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = var.secret_kms_key_arns
      Condition = { StringEquals = { "kms:ViaService" = ["secretsmanager.${data.aws_region.current.region}.${data.aws_partition.current.dns_suffix}"] } }
    }] : [],
  )

  package_hash = var.package.hash != null ? var.package.hash : filebase64sha256(var.package.filename)
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${var.function_name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.log_kms_key_arn
  tags              = var.tags
}

resource "aws_iam_role" "this" {
  name                 = var.function_name
  permissions_boundary = var.permissions_boundary_arn
  tags                 = var.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name = "function"
  role = aws_iam_role.this.name
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat(local.statements, local.conditional_statements)
  })
}

resource "aws_lambda_function" "this" {
  function_name                  = var.function_name
  description                    = var.description
  role                           = aws_iam_role.this.arn
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture]
  filename                       = var.package.filename
  s3_bucket                      = var.package.s3_bucket
  s3_key                         = var.package.s3_key
  s3_object_version              = var.package.s3_object_version
  source_code_hash               = local.package_hash
  memory_size                    = var.memory_size
  timeout                        = var.timeout
  reserved_concurrent_executions = var.reserved_concurrency
  publish                        = true
  tags                           = var.tags

  environment {
    variables = var.environment
  }

  # The program filters by its own level.  Lambda's filter would take a metrics line, which has no
  # level, for INFO: with a higher level here, metrics would be lost.
  logging_config {
    log_format            = "JSON"
    application_log_level = var.log_level == "debug" ? "DEBUG" : "INFO"
    system_log_level      = "WARN"
    log_group             = aws_cloudwatch_log_group.this.name
  }

  tracing_config {
    mode = var.enable_xray_tracing ? "Active" : "PassThrough"
  }

  vpc_config {
    subnet_ids         = var.subnet_ids
    security_group_ids = var.security_group_ids
  }

  # Without its rights in place the function cannot be attached to the network, nor detached.
  depends_on = [aws_iam_role_policy.this]
}

resource "terraform_data" "publish_after" {
  input = var.publish_after
}

resource "aws_lambda_alias" "live" {
  name             = "live"
  description      = "What the API calls"
  function_name    = aws_lambda_function.this.function_name
  function_version = aws_lambda_function.this.version

  depends_on = [terraform_data.publish_after]
}

resource "aws_lambda_provisioned_concurrency_config" "live" {
  count = var.provisioned_concurrency > 0 ? 1 : 0

  function_name                     = aws_lambda_function.this.function_name
  qualifier                         = aws_lambda_alias.live.name
  provisioned_concurrent_executions = var.provisioned_concurrency
}
