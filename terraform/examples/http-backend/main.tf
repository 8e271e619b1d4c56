# SPDX-License-Identifier: Apache-2.0
# API Gateway in front of `switchboard backend`, which runs on machines of yours behind a load balancer:
# no functions, no VPC of this stack.

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
  description = "Region of the API."
  type        = string
  default     = "us-east-1"
}

variable "backend_url" {
  description = "Where switchboard backend listens, through TLS."
  type        = string
}

variable "backend_role_name" {
  description = "Role of the machines that it runs on; it gets the right to post to connections."
  type        = string
}

module "websocket" {
  source = "../../modules/websocket"

  api_name             = "http-backend"
  stage_name           = "prod"
  integration_type     = "HTTP_PROXY"
  http_integration_url = var.backend_url
}

resource "aws_iam_role_policy" "post" {
  name = "post-to-connections"
  role = var.backend_role_name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["execute-api:ManageConnections"]
      Resource = [module.websocket.manage_connections_arn]
    }]
  })
}

output "websocket_api_endpoint" {
  description = "URL that clients connect to."
  value       = module.websocket.websocket_api_endpoint
}

output "websocket_management_endpoint" {
  description = "The backend's AWS_WEBSOCKET_API_GATEWAY_ENDPOINT."
  value       = module.websocket.websocket_management_endpoint
}
