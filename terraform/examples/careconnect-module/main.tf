# SPDX-License-Identifier: Apache-2.0
# An application that has its function already and wants the API only: the inputs and outputs of the
# module that it used before.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.28, < 7.0"
    }
  }
}

provider "aws" {
  region = var.aws_region
}

variable "aws_region" {
  description = "Region of the function and the API."
  type        = string
  default     = "us-east-1"
}

variable "backend_function_name" {
  description = "The function that is there already."
  type        = string
}

variable "backend_invoke_arn" {
  description = "Its invoke ARN."
  type        = string
}

module "websocket" {
  source = "../../modules/careconnect"

  default_tags = { Project = "careconnect" }
  stage_name   = "prod"

  connect_lambda_function_name    = var.backend_function_name
  connect_lambda_invoke_arn       = var.backend_invoke_arn
  disconnect_lambda_function_name = var.backend_function_name
  disconnect_lambda_invoke_arn    = var.backend_invoke_arn
  default_lambda_function_name    = var.backend_function_name
  default_lambda_invoke_arn       = var.backend_invoke_arn
}

output "websocket_api_endpoint" {
  description = "URL that clients connect to."
  value       = module.websocket.websocket_api_endpoint
}

output "websocket_management_endpoint" {
  description = "The function's AWS_WEBSOCKET_API_GATEWAY_ENDPOINT."
  value       = module.websocket.websocket_management_endpoint
}
