# SPDX-License-Identifier: Apache-2.0
# RDS Proxy with IAM on both sides: the function's token for the proxy, the proxy's for the database.
# No secret holds a password of the service's role.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  user_arn_prefix = "arn:${data.aws_partition.current.partition}:rds-db:${data.aws_region.current.region}:${data.aws_caller_identity.current.account_id}:dbuser"

  resource_id  = local.is_aurora ? one(aws_rds_cluster.this[*].cluster_resource_id) : one(aws_db_instance.this[*].resource_id)
  database_arn = "${local.user_arn_prefix}:${local.resource_id}/${var.service_user}"

  # arn:aws:rds:<region>:<account>:db-proxy:prx-...
  proxy_id  = try(split(":", aws_db_proxy.this[0].arn)[6], "")
  proxy_arn = "${local.user_arn_prefix}:${local.proxy_id}/${var.service_user}"
}

resource "aws_security_group" "proxy" {
  count = var.enable_proxy ? 1 : 0

  name        = "${var.name}-proxy"
  description = "RDS Proxy of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-proxy" })
}

resource "aws_vpc_security_group_ingress_rule" "proxy" {
  count = var.enable_proxy ? 1 : 0

  security_group_id            = aws_security_group.proxy[0].id
  description                  = "PostgreSQL from functions"
  referenced_security_group_id = var.client_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_vpc_security_group_egress_rule" "proxy" {
  count = var.enable_proxy ? 1 : 0

  security_group_id            = aws_security_group.proxy[0].id
  description                  = "PostgreSQL to the database"
  referenced_security_group_id = aws_security_group.database.id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_iam_role" "proxy" {
  count = var.enable_proxy ? 1 : 0

  name                 = "${var.name}-proxy"
  permissions_boundary = var.permissions_boundary_arn
  tags                 = var.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "rds.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "proxy" {
  count = var.enable_proxy ? 1 : 0

  name = "database"
  role = aws_iam_role.proxy[0].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "Database"
      Effect   = "Allow"
      Action   = ["rds-db:connect"]
      Resource = [local.database_arn]
    }]
  })
}

resource "aws_cloudwatch_log_group" "proxy" {
  count = var.enable_proxy ? 1 : 0

  name              = "/aws/rds/proxy/${var.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = var.tags
}

resource "aws_db_proxy" "this" {
  count = var.enable_proxy ? 1 : 0

  name                   = var.name
  engine_family          = "POSTGRESQL"
  default_auth_scheme    = "IAM_AUTH"
  require_tls            = true
  idle_client_timeout    = 900
  role_arn               = aws_iam_role.proxy[0].arn
  vpc_subnet_ids         = var.subnet_ids
  vpc_security_group_ids = [aws_security_group.proxy[0].id]
  tags                   = var.tags

  depends_on = [aws_cloudwatch_log_group.proxy, aws_iam_role_policy.proxy]
}

resource "aws_db_proxy_default_target_group" "this" {
  count = var.enable_proxy ? 1 : 0

  db_proxy_name = aws_db_proxy.this[0].name

  # A tenth of the connections stays free for migrations and people.
  connection_pool_config {
    connection_borrow_timeout    = 5
    max_connections_percent      = 90
    max_idle_connections_percent = 50
  }
}

resource "aws_db_proxy_target" "this" {
  count = var.enable_proxy ? 1 : 0

  db_proxy_name          = aws_db_proxy.this[0].name
  target_group_name      = aws_db_proxy_default_target_group.this[0].name
  db_cluster_identifier  = local.is_aurora ? aws_rds_cluster.this[0].cluster_identifier : null
  db_instance_identifier = local.is_aurora ? null : aws_db_instance.this[0].identifier

  depends_on = [aws_rds_cluster_instance.this]
}
