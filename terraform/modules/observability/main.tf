# SPDX-License-Identifier: Apache-2.0
# Alarms and a dashboard over the metrics that AWS keeps anyway.

locals {
  is_aurora = var.database_mode == "aurora-serverless-v2"

  api      = { ApiId = var.api_id, Stage = var.stage_name }
  database = local.is_aurora ? { DBClusterIdentifier = var.database_identifier } : { DBInstanceIdentifier = var.database_identifier }
  at_least = "GreaterThanOrEqualToThreshold"

  # name = [namespace, metric, dimensions, statistic, comparison, threshold, periods of 5 minutes, description]
  api_alarms = {
    integration-errors  = ["AWS/ApiGateway", "IntegrationError", local.api, "Sum", local.at_least, var.thresholds.integration_errors, 1, "Functions fail or do not answer the API"]
    execution-errors    = ["AWS/ApiGateway", "ExecutionError", local.api, "Sum", local.at_least, var.thresholds.execution_errors, 1, "The API could not call a function: permissions, throttling"]
    client-errors       = ["AWS/ApiGateway", "ClientError", local.api, "Sum", local.at_least, var.thresholds.client_errors, 3, "Handshakes and messages are refused: tokens, limits"]
    integration-latency = ["AWS/ApiGateway", "IntegrationLatency", local.api, "p99", local.at_least, var.thresholds.integration_latency_ms, 3, "One in a hundred calls is slower than this many milliseconds"]
  }
  function_alarms = merge([
    for key, name in var.function_names : {
      "${key}-errors"    = ["AWS/Lambda", "Errors", { FunctionName = name }, "Sum", local.at_least, var.thresholds.function_errors, 1, "Function ${name} failed"]
      "${key}-throttles" = ["AWS/Lambda", "Throttles", { FunctionName = name }, "Sum", local.at_least, var.thresholds.function_throttles, 1, "Function ${name} was refused for want of concurrency"]
    }
  ]...)
  database_alarms = merge(
    { database-cpu = ["AWS/RDS", "CPUUtilization", local.database, "Average", local.at_least, var.thresholds.database_cpu_percent, 3, "The database is busy"] },
    local.is_aurora ? {
      database-capacity = ["AWS/RDS", "ACUUtilization", local.database, "Average", local.at_least, var.thresholds.database_acu_percent, 3, "The database is near its largest capacity"]
      } : {
      database-storage = ["AWS/RDS", "FreeStorageSpace", local.database, "Minimum", "LessThanThreshold", var.thresholds.database_free_storage_gb * 1073741824, 1, "The database's disk is nearly full"]
    },
    var.enable_proxy ? {
      proxy-borrow-latency = ["AWS/RDS", "DatabaseConnectionsBorrowLatency", { ProxyName = var.proxy_name }, "Average", local.at_least, var.thresholds.proxy_borrow_latency_us, 3, "The proxy has too few database connections"]
    } : {},
  )
  queue_alarms = {
    dead-letters = ["AWS/SQS", "ApproximateNumberOfMessagesVisible", { QueueName = var.dead_letter_queue_name }, "Maximum", local.at_least, var.thresholds.dead_letters, 1, "Scheduled calls were lost"]
  }
  alarms = {
    for name, alarm in merge(local.api_alarms, local.function_alarms, local.database_alarms, local.queue_alarms) :
    name => {
      namespace   = alarm[0]
      metric      = alarm[1]
      dimensions  = alarm[2]
      statistic   = alarm[3]
      comparison  = alarm[4]
      threshold   = alarm[5]
      periods     = alarm[6]
      description = alarm[7]
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  period              = 300
  evaluation_periods  = each.value.periods
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = var.tags
}
