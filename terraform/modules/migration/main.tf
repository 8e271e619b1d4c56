# SPDX-License-Identifier: Apache-2.0
# Migrates the database from inside its network, once for every new package.

module "function" {
  source = "../function"

  function_name            = var.function_name
  description              = "Migrates the database; called by Terraform"
  package                  = var.package
  architecture             = var.architecture
  memory_size              = 256
  timeout                  = 900
  environment              = var.environment
  subnet_ids               = var.subnet_ids
  security_group_ids       = var.security_group_ids
  log_retention_days       = var.log_retention_days
  log_kms_key_arn          = var.log_kms_key_arn
  enable_xray_tracing      = false
  reserved_concurrency     = -1
  secret_arns              = [var.owner_secret_arn]
  secret_kms_key_arns      = var.secret_kms_key_arns
  permissions_boundary_arn = var.permissions_boundary_arn
  tags                     = var.tags
}

# A failed migration fails the apply, before the alias of any other function moves to the new code.
resource "aws_lambda_invocation" "migrate" {
  function_name = module.function.function_name
  qualifier     = module.function.alias_name
  input = jsonencode({
    op           = "migrate"
    service_role = var.service_role
  })

  triggers = {
    package = module.function.package_hash
  }
}
