# SPDX-License-Identifier: Apache-2.0
output "host" {
  description = "Where functions connect, once it answers: the proxy, or the database when there is none."
  value       = var.enable_proxy ? one(aws_db_proxy.this[*].endpoint) : local.is_aurora ? one(aws_rds_cluster.this[*].endpoint) : one(aws_db_instance.this[*].address)

  depends_on = [aws_db_proxy_target.this, aws_rds_cluster_instance.this]
}

output "database_host" {
  description = "Where the migration connects: the database itself, once it answers."
  value       = local.is_aurora ? one(aws_rds_cluster.this[*].endpoint) : one(aws_db_instance.this[*].address)

  depends_on = [aws_rds_cluster_instance.this]
}

output "port" {
  description = "Port of both."
  value       = 5432
}

output "connect_arn" {
  description = "What a policy needs for rds-db:connect as the service's role."
  value       = var.enable_proxy ? local.proxy_arn : local.database_arn
}

output "master_secret_arn" {
  description = "Secret with the owner's name and password."
  value       = local.is_aurora ? one(aws_rds_cluster.this[*].master_user_secret[0].secret_arn) : one(aws_db_instance.this[*].master_user_secret[0].secret_arn)
}

output "client_target_security_group_id" {
  description = "Security group that functions connect to."
  value       = var.enable_proxy ? one(aws_security_group.proxy[*].id) : aws_security_group.database.id
}

output "database_security_group_id" {
  description = "Security group of the database."
  value       = aws_security_group.database.id
}

output "identifier" {
  description = "Name of the cluster or of the instance."
  value       = var.name
}

output "proxy_name" {
  description = "Name of the proxy; null when there is none."
  value       = one(aws_db_proxy.this[*].name)
}

output "log_group_name" {
  description = "Log group of the database."
  value       = aws_cloudwatch_log_group.database.name
}
