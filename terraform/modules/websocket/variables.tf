# SPDX-License-Identifier: Apache-2.0
variable "api_name" {
  description = "Name of the API, and the beginning of the names of what belongs to it."
  type        = string
  default     = "websocket-api"

  validation {
    condition     = can(regex("^[a-zA-Z0-9-]{1,54}$", var.api_name))
    error_message = "api_name is 1 to 54 letters, digits and '-'."
  }
}

variable "api_description" {
  description = "Description of the API."
  type        = string
  default     = "WebSocket API of Switchboard"
}

variable "default_tags" {
  description = "Tags of everything that can be tagged."
  type        = map(string)
  default     = {}
}

variable "stage_name" {
  description = "Name of the stage: the path of the WebSocket URL."
  type        = string

  validation {
    condition     = can(regex("^[-a-zA-Z0-9_]{1,128}$", var.stage_name))
    error_message = "stage_name is 1 to 128 letters, digits, '-' and '_'."
  }
}

variable "route_selection_expression" {
  description = "Where a message says its route."
  type        = string
  default     = "$request.body.action"

  validation {
    condition     = can(regex("^\\$request\\.body\\.", var.route_selection_expression))
    error_message = "route_selection_expression begins with $request.body."
  }
}

variable "custom_routes" {
  description = "Route keys besides $connect, $disconnect and $default; they share the integration of $default."
  type        = set(string)
  default     = []

  validation {
    condition     = length(var.custom_routes) <= 297
    error_message = "An API has 300 routes at most, three of them are built in."
  }

  validation {
    condition     = alltrue([for key in var.custom_routes : can(regex("^[^$]", key))])
    error_message = "Custom route keys are not empty and do not begin with '$'."
  }
}

variable "routes_with_response" {
  description = "Route keys whose integration response is sent back to the client."
  type        = set(string)
  default     = []
}

variable "integration_type" {
  description = "AWS_PROXY calls Lambda functions, HTTP_PROXY a URL (such as switchboard backend behind a load balancer)."
  type        = string
  default     = "AWS_PROXY"

  validation {
    condition     = contains(["AWS_PROXY", "HTTP_PROXY"], var.integration_type)
    error_message = "integration_type is AWS_PROXY or HTTP_PROXY."
  }
}

variable "integration_timeout_milliseconds" {
  description = "How long the API waits for an answer."
  type        = number
  default     = 29000

  validation {
    condition     = var.integration_timeout_milliseconds >= 50 && var.integration_timeout_milliseconds <= 29000
    error_message = "integration_timeout_milliseconds is 50 to 29000."
  }
}

variable "http_integration_url" {
  description = "Where HTTP_PROXY posts events; null with AWS_PROXY."
  type        = string
  default     = null

  validation {
    condition     = var.http_integration_url == null || can(regex("^https?://", var.http_integration_url))
    error_message = "http_integration_url begins with http:// or https://."
  }
}

variable "http_connect_query_parameters" {
  description = "Query parameters of the handshake that HTTP_PROXY hands on; the API drops the others."
  type        = set(string)
  default     = ["email", "resume", "roomId", "token", "type", "userId", "username"]
}

variable "connect_lambda_function_name" {
  description = "Name of the function behind $connect; null with HTTP_PROXY."
  type        = string
  default     = null
}

variable "connect_lambda_invoke_arn" {
  description = "Invoke ARN of the function behind $connect; null with HTTP_PROXY."
  type        = string
  default     = null
}

variable "disconnect_lambda_function_name" {
  description = "Name of the function behind $disconnect; null with HTTP_PROXY."
  type        = string
  default     = null
}

variable "disconnect_lambda_invoke_arn" {
  description = "Invoke ARN of the function behind $disconnect; null with HTTP_PROXY."
  type        = string
  default     = null
}

variable "default_lambda_function_name" {
  description = "Name of the function behind $default and the custom routes; null with HTTP_PROXY."
  type        = string
  default     = null
}

variable "default_lambda_invoke_arn" {
  description = "Invoke ARN of the function behind $default and the custom routes; null with HTTP_PROXY."
  type        = string
  default     = null
}

variable "lambda_qualifier" {
  description = "Alias or version in the invoke ARNs; null when they name none."
  type        = string
  default     = null
}

variable "authorizer" {
  description = "REQUEST authorizer of $connect; null: everybody may connect."
  type = object({
    function_name    = string
    invoke_arn       = string
    qualifier        = optional(string)
    identity_sources = optional(list(string), ["route.request.querystring.token"])
  })
  default = null
}

variable "throttling_burst_limit" {
  description = "Messages that each route takes at once."
  type        = number
  default     = 500

  validation {
    condition     = var.throttling_burst_limit >= 0 && var.throttling_burst_limit <= 5000
    error_message = "throttling_burst_limit is 0 to 5000."
  }
}

variable "throttling_rate_limit" {
  description = "Messages per second that each route takes in the long run."
  type        = number
  default     = 1000

  validation {
    condition     = var.throttling_rate_limit >= 0 && var.throttling_rate_limit <= 10000
    error_message = "throttling_rate_limit is 0 to 10000."
  }
}

variable "route_throttling" {
  description = "Limits of single routes by route key; what is left out is as in throttling_*."
  type = map(object({
    burst_limit = optional(number)
    rate_limit  = optional(number)
  }))
  default = {}
}

variable "enable_detailed_metrics" {
  description = "Whether CloudWatch gets metrics of each route."
  type        = bool
  default     = true
}

variable "enable_data_trace" {
  description = "Whether the execution log has message bodies and tokens in it: for a test environment, for an hour."
  type        = bool
  default     = false
}

variable "logging_level" {
  description = "What goes to the execution log; other than OFF needs the account's logging role."
  type        = string
  default     = "INFO"

  validation {
    condition     = contains(["OFF", "ERROR", "INFO"], var.logging_level)
    error_message = "logging_level is OFF, ERROR or INFO."
  }
}

variable "enable_access_log" {
  description = "Whether there is an access log; it needs the account's logging role, too."
  type        = bool
  default     = true
}

variable "access_log_group_name" {
  description = "Log group of the access log; null: /switchboard/<api_name>/<stage_name>/access."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps the logs."
  type        = number
  default     = 14
}

variable "kms_key_arn" {
  description = "Key of the log groups; null: the service's own."
  type        = string
  default     = null
}

variable "manage_account_logging_role" {
  description = "Whether this stack sets the logging role of API Gateway: one setting for the whole account and region."
  type        = bool
  default     = false
}

variable "custom_domain" {
  description = "A domain name in front of the stage; with hosted_zone_id its DNS record as well."
  type = object({
    domain_name     = string
    certificate_arn = string
    hosted_zone_id  = optional(string)
  })
  default = null
}

variable "stage_variables" {
  description = "Stage variables that events carry."
  type        = map(string)
  default     = {}
}
