# SPDX-License-Identifier: Apache-2.0
variable "name" {
  description = "Beginning of the names of what belongs to the schedules."
  type        = string
}

variable "function_arn" {
  description = "What is called: a function's alias."
  type        = string
}

variable "schedules" {
  description = "What is done when: EventBridge expression and what the function gets."
  type = map(object({
    expression  = string
    input       = map(string)
    description = optional(string)
  }))

  validation {
    condition = alltrue([
      for schedule in values(var.schedules) : can(regex("^(rate|cron|at)\\(.+\\)$", schedule.expression))
    ])
    error_message = "Expressions are rate(...), cron(...) or at(...)."
  }
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary of the role."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of everything that can be tagged."
  type        = map(string)
  default     = {}
}
