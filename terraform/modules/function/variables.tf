# SPDX-License-Identifier: Apache-2.0
variable "function_name" {
  description = "Name of the function."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9-_]{1,64}$", var.function_name))
    error_message = "function_name is 1 to 64 letters, digits, '-' and '_'."
  }
}

variable "description" {
  description = "Description of the function."
  type        = string
}

variable "package" {
  description = "The zip that ./dev package makes: a file, or an object in S3. hash: base64 of its SHA-256, needed with S3."
  type = object({
    filename          = optional(string)
    s3_bucket         = optional(string)
    s3_key            = optional(string)
    s3_object_version = optional(string)
    hash              = optional(string)
  })

  validation {
    condition     = (var.package.filename == null) != (var.package.s3_bucket == null)
    error_message = "Either filename, or s3_bucket and s3_key."
  }

  validation {
    condition     = var.package.s3_bucket == null || (var.package.s3_key != null && var.package.hash != null)
    error_message = "s3_bucket needs s3_key and hash."
  }
}

variable "architecture" {
  description = "What the package was built for."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "architecture is x86_64 or arm64."
  }
}

variable "memory_size" {
  description = "Memory in MB; processor time grows with it."
  type        = number
  default     = 256
}

variable "timeout" {
  description = "Seconds that one invocation may take."
  type        = number
  default     = 29
}

variable "environment" {
  description = "Environment of the function."
  type        = map(string)
  default     = {}
}

variable "subnet_ids" {
  description = "Subnets that the function runs in."
  type        = list(string)
}

variable "security_group_ids" {
  description = "Security groups of the function."
  type        = list(string)
}

variable "log_level" {
  description = "Level of the function's own lines."
  type        = string
  default     = "info"

  validation {
    condition     = contains(["debug", "info", "warn", "error"], var.log_level)
    error_message = "log_level is debug, info, warn or error."
  }
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

variable "enable_xray_tracing" {
  description = "Whether X-Ray traces invocations."
  type        = bool
  default     = true
}

variable "reserved_concurrency" {
  description = "Invocations at a time, set aside and at most; -1: what the account has."
  type        = number
  default     = -1
}

variable "provisioned_concurrency" {
  description = "Instances kept warm behind the alias; 0: none."
  type        = number
  default     = 0
}

variable "manage_connections_arns" {
  description = "Stages that the function may post to and disconnect from."
  type        = list(string)
  default     = []
}

variable "database_connect_arns" {
  description = "Database users that the function may log in as with an IAM token."
  type        = list(string)
  default     = []
}

variable "secret_arns" {
  description = "Secrets that the function may read."
  type        = list(string)
  default     = []
}

variable "secret_kms_key_arns" {
  description = "Keys that those secrets are encrypted with, where they are not Secrets Manager's own."
  type        = list(string)
  default     = []
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary of the role."
  type        = string
  default     = null
}

variable "publish_after" {
  description = "The alias moves to new code once this value is known, such as the result of the migration."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of everything that can be tagged."
  type        = map(string)
  default     = {}
}
