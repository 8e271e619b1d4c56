# SPDX-License-Identifier: Apache-2.0
variable "function_name" {
  description = "Name of the function that migrates."
  type        = string
}

variable "package" {
  description = "As in modules/function."
  type = object({
    filename          = optional(string)
    s3_bucket         = optional(string)
    s3_key            = optional(string)
    s3_object_version = optional(string)
    hash              = optional(string)
  })
}

variable "architecture" {
  description = "What the package was built for."
  type        = string
  default     = "x86_64"
}

variable "environment" {
  description = "Environment of the function: the database as its owner sees it."
  type        = map(string)
}

variable "service_role" {
  description = "Database role that the other functions log in as; made when it is not there."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets that the function runs in."
  type        = list(string)
}

variable "security_group_ids" {
  description = "Security groups of the function."
  type        = list(string)
}

variable "owner_secret_arn" {
  description = "Secret with the owner's name and password."
  type        = string
}

variable "secret_kms_key_arns" {
  description = "Key of that secret; empty: Secrets Manager's own."
  type        = list(string)
  default     = []
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps the log."
  type        = number
  default     = 14
}

variable "log_kms_key_arn" {
  description = "Key of the log group; null: the service's own."
  type        = string
  default     = null
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
