# SPDX-License-Identifier: Apache-2.0
variable "name" {
  description = "Name of the key's alias."
  type        = string
}

variable "log_group_patterns" {
  description = "Names of the log groups that the key is for; * at the end is allowed."
  type        = list(string)
}

variable "deletion_window_days" {
  description = "How long a deleted key can be taken back."
  type        = number
  default     = 30

  validation {
    condition     = var.deletion_window_days >= 7 && var.deletion_window_days <= 30
    error_message = "deletion_window_days is 7 to 30."
  }
}

variable "tags" {
  description = "Tags of the key."
  type        = map(string)
  default     = {}
}
