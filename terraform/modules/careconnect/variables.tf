# SPDX-License-Identifier: Apache-2.0
# Names and meaning as in the module that this one replaces; what comes after the eight is new and optional.
variable "default_tags" {
  description = "Tags of everything that can be tagged."
  type        = map(string)
}

variable "stage_name" {
  description = "Name of the stage: the path of the WebSocket URL."
  type        = string
  default     = "prod"
}

variable "connect_lambda_function_name" {
  description = "Name of the function behind $connect."
  type        = string
}

variable "connect_lambda_invoke_arn" {
  description = "Invoke ARN of the function behind $connect."
  type        = string
}

variable "disconnect_lambda_function_name" {
  description = "Name of the function behind $disconnect."
  type        = string
}

variable "disconnect_lambda_invoke_arn" {
  description = "Invoke ARN of the function behind $disconnect."
  type        = string
}

variable "default_lambda_function_name" {
  description = "Name of the function behind $default."
  type        = string
}

variable "default_lambda_invoke_arn" {
  description = "Invoke ARN of the function behind $default."
  type        = string
}

variable "lambda_qualifier" {
  description = "Alias or version in the invoke ARNs; null when they name none."
  type        = string
  default     = null
}

variable "api_name" {
  description = "Name of the API."
  type        = string
  default     = "careconnect-websocket"
}

variable "logging_level" {
  description = "OFF, ERROR or INFO; other than OFF needs the account's logging role."
  type        = string
  default     = "INFO"
}

variable "enable_access_log" {
  description = "Whether there is an access log; it needs the account's logging role, too."
  type        = bool
  default     = true
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps the logs."
  type        = number
  default     = 30
}

variable "kms_key_arn" {
  description = "Key of the log groups; null: the service's own."
  type        = string
  default     = null
}
