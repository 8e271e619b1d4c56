# SPDX-License-Identifier: Apache-2.0
output "function_name" {
  description = "Name of the function that migrates."
  value       = module.function.function_name
}

output "log_group_name" {
  description = "Log group of the function."
  value       = module.function.log_group_name
}

output "result" {
  description = "What the last migration answered."
  value       = aws_lambda_invocation.migrate.result
}
