# SPDX-License-Identifier: Apache-2.0
# What AWS would answer: a mock's own texts are random, and arguments are checked.

mock_data "aws_availability_zones" {
  defaults = {
    names = ["us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d"]
  }
}

mock_data "aws_caller_identity" {
  defaults = {
    account_id = "123456789012"
  }
}

mock_data "aws_partition" {
  defaults = {
    partition  = "aws"
    dns_suffix = "amazonaws.com"
  }
}

mock_data "aws_region" {
  defaults = {
    region = "us-east-1"
  }
}

mock_resource "aws_apigatewayv2_api" {
  defaults = {
    id            = "a1b2c3d4e5"
    execution_arn = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5"
  }
}

mock_resource "aws_apigatewayv2_authorizer" {
  defaults = {
    id = "auth01"
  }
}

mock_resource "aws_apigatewayv2_integration" {
  defaults = {
    id = "int01"
  }
}

mock_resource "aws_apigatewayv2_stage" {
  defaults = {
    id         = "test"
    invoke_url = "wss://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/test"
  }
}

mock_resource "aws_cloudwatch_log_group" {
  defaults = {
    arn = "arn:aws:logs:us-east-1:123456789012:log-group:group"
  }
}

mock_resource "aws_db_instance" {
  defaults = {
    address            = "database.example"
    resource_id        = "db-RESOURCE"
    master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:owner" }]
  }
}

mock_resource "aws_db_proxy" {
  defaults = {
    arn      = "arn:aws:rds:us-east-1:123456789012:db-proxy:prx-0123"
    endpoint = "proxy.example"
  }
}

mock_resource "aws_eip" {
  defaults = {
    public_ip = "192.0.2.1"
  }
}

mock_resource "aws_iam_role" {
  defaults = {
    arn = "arn:aws:iam::123456789012:role/role"
  }
}

mock_resource "aws_kms_key" {
  defaults = {
    arn = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  }
}

mock_resource "aws_lambda_alias" {
  defaults = {
    arn        = "arn:aws:lambda:us-east-1:123456789012:function:function:live"
    invoke_arn = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:123456789012:function:function:live/invocations"
  }
}

mock_resource "aws_lambda_function" {
  defaults = {
    arn     = "arn:aws:lambda:us-east-1:123456789012:function:function"
    version = "1"
  }
}

mock_resource "aws_lambda_invocation" {
  defaults = {
    result = "{\"applied\":[]}"
  }
}

mock_resource "aws_rds_cluster" {
  defaults = {
    endpoint            = "cluster.example"
    cluster_resource_id = "cluster-RESOURCE"
    master_user_secret  = [{ secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:owner" }]
  }
}

mock_resource "aws_scheduler_schedule_group" {
  defaults = {
    arn = "arn:aws:scheduler:us-east-1:123456789012:schedule-group/group"
  }
}

mock_resource "aws_sqs_queue" {
  defaults = {
    arn = "arn:aws:sqs:us-east-1:123456789012:queue"
  }
}

mock_resource "aws_nat_gateway" {
  defaults = {
    id = "nat-0"
  }
}

mock_resource "aws_route_table" {
  defaults = {
    id = "rtb-0"
  }
}

mock_resource "aws_security_group" {
  defaults = {
    id = "sg-0"
  }
}
