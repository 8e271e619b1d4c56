# SPDX-License-Identifier: Apache-2.0
project_name = "careconnect"
environment  = "prod"
profile      = "careconnect"
stage_name   = "prod"

connection_ttl_minutes = 120
log_retention_days     = 30
backup_retention_days  = 14

lambda_package = {
  filename = "../dist/switchboard-lambda-x86_64.zip"
}
