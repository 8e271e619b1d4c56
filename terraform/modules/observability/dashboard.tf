# SPDX-License-Identifier: Apache-2.0
data "aws_region" "current" {}

locals {
  charts = concat(
    [
      {
        title = "Connections and messages"
        stat  = "Sum"
        metrics = [
          ["AWS/ApiGateway", "ConnectCount", "ApiId", var.api_id, "Stage", var.stage_name],
          ["AWS/ApiGateway", "MessageCount", "ApiId", var.api_id, "Stage", var.stage_name],
        ]
      },
      {
        title = "Errors of the API"
        stat  = "Sum"
        metrics = [
          for metric in ["ClientError", "ExecutionError", "IntegrationError"] :
          ["AWS/ApiGateway", metric, "ApiId", var.api_id, "Stage", var.stage_name]
        ]
      },
      {
        title   = "Time of an answer (99 of 100)"
        stat    = "p99"
        metrics = [["AWS/ApiGateway", "IntegrationLatency", "ApiId", var.api_id, "Stage", var.stage_name]]
      },
      {
        title   = "Invocations"
        stat    = "Sum"
        metrics = [for name in values(var.function_names) : ["AWS/Lambda", "Invocations", "FunctionName", name]]
      },
      {
        title = "Errors and throttles of the functions"
        stat  = "Sum"
        metrics = concat(
          [for name in values(var.function_names) : ["AWS/Lambda", "Errors", "FunctionName", name]],
          [for name in values(var.function_names) : ["AWS/Lambda", "Throttles", "FunctionName", name]],
        )
      },
      {
        title   = "Invocations at a time"
        stat    = "Maximum"
        metrics = [for name in values(var.function_names) : ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", name]]
      },
      {
        title = "Database"
        stat  = "Average"
        metrics = [
          for metric in local.is_aurora ? ["ACUUtilization", "CPUUtilization"] : ["CPUUtilization"] :
          concat(["AWS/RDS", metric], flatten([for key, value in local.database : [key, value]]))
        ]
      },
      {
        title   = "Connections of the database"
        stat    = "Maximum"
        metrics = [concat(["AWS/RDS", "DatabaseConnections"], flatten([for key, value in local.database : [key, value]]))]
      },
    ],
    var.enable_proxy ? [{
      title = "Proxy: wait for a connection (microseconds)"
      stat  = "Average"
      metrics = [
        ["AWS/RDS", "DatabaseConnectionsBorrowLatency", "ProxyName", var.proxy_name],
      ]
    }] : [],
  )
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = [
      for index, chart in local.charts : {
        type   = "metric"
        x      = (index % 3) * 8
        y      = floor(index / 3) * 6
        width  = 8
        height = 6
        properties = {
          title   = chart.title
          region  = data.aws_region.current.region
          stat    = chart.stat
          period  = 300
          metrics = chart.metrics
        }
      }
    ]
  })
}
