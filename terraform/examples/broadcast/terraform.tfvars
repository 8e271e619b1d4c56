# SPDX-License-Identifier: Apache-2.0
project_name = "broadcast"
environment  = "dev"
stack_name   = "demo"
profile      = "broadcast"
stage_name   = "production"

connection_ttl_hours = 24
enable_xray_tracing  = false
log_retention_days   = 30

# The small one: an instance of fixed size, and no proxy in front of it.
database_mode               = "instance"
enable_rds_proxy            = false
lambda_reserved_concurrency = 40

lambda_package = {
  filename = "../dist/switchboard-lambda-x86_64.zip"
}
