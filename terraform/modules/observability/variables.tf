# SPDX-License-Identifier: Apache-2.0
variable "name" {
  description = "Name of the dashboard, and the beginning of the names of the alarms."
  type        = string
}

variable "api_id" {
  description = "Id of the API."
  type        = string
}

variable "stage_name" {
  description = "Stage of the API."
  type        = string
}

variable "function_names" {
  description = "Functions by what they do, such as message."
  type        = map(string)
}

variable "database_mode" {
  description = "aurora-serverless-v2 or instance."
  type        = string
}

variable "database_identifier" {
  description = "Name of the cluster or of the instance."
  type        = string
}

variable "enable_proxy" {
  description = "Whether there is an RDS Proxy."
  type        = bool
}

variable "proxy_name" {
  description = "Name of the RDS Proxy."
  type        = string
  default     = null
}

variable "dead_letter_queue_name" {
  description = "Queue of the calls that Lambda did not take."
  type        = string
}

variable "alarm_topic_arns" {
  description = "SNS topics that hear of an alarm and of its end."
  type        = list(string)
  default     = []
}

variable "thresholds" {
  description = "When an alarm goes off; counts are for five minutes."
  type = object({
    client_errors            = optional(number, 100)
    execution_errors         = optional(number, 5)
    integration_errors       = optional(number, 5)
    integration_latency_ms   = optional(number, 5000)
    function_errors          = optional(number, 1)
    function_throttles       = optional(number, 1)
    database_cpu_percent     = optional(number, 80)
    database_acu_percent     = optional(number, 90)
    database_free_storage_gb = optional(number, 2)
    proxy_borrow_latency_us  = optional(number, 500000)
    dead_letters             = optional(number, 1)
  })
  default = {}
}

variable "tags" {
  description = "Tags of the alarms."
  type        = map(string)
  default     = {}
}
