# SPDX-License-Identifier: Apache-2.0
variable "name" {
  description = "Name of the database server, and the beginning of the names of what belongs to it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,50}[a-z0-9]$", var.name)) && !strcontains(var.name, "--")
    error_message = "name is lower-case letters, digits and single '-', at most 52, and begins with a letter."
  }
}

variable "mode" {
  description = "aurora-serverless-v2 grows with the load; instance is one RDS instance of a fixed size."
  type        = string
  default     = "aurora-serverless-v2"

  validation {
    condition     = contains(["aurora-serverless-v2", "instance"], var.mode)
    error_message = "mode is aurora-serverless-v2 or instance."
  }
}

variable "engine_version" {
  description = "PostgreSQL version, 15 or newer; without a minor version RDS chooses it."
  type        = string
  default     = "15"

  validation {
    condition     = try(tonumber(split(".", var.engine_version)[0]) >= 15, false)
    error_message = "engine_version is 15 or newer."
  }
}

variable "min_capacity" {
  description = "Aurora capacity units at least; 0 pauses an idle cluster (the schedules keep it awake)."
  type        = number
  default     = 0.5

  validation {
    condition     = var.min_capacity >= 0 && var.min_capacity <= 256 && floor(var.min_capacity * 2) == var.min_capacity * 2
    error_message = "min_capacity is 0 to 256 in steps of 0.5."
  }
}

variable "max_capacity" {
  description = "Aurora capacity units at most."
  type        = number
  default     = 4

  validation {
    condition     = var.max_capacity >= 1 && var.max_capacity <= 256 && var.max_capacity >= var.min_capacity
    error_message = "max_capacity is 1 to 256 and not less than min_capacity."
  }
}

variable "instance_class" {
  description = "Size of the instance in mode instance."
  type        = string
  default     = "db.t4g.micro"
}

variable "allocated_storage" {
  description = "Gigabytes of the instance in mode instance; it grows up to four times that by itself."
  type        = number
  default     = 20
}

variable "instance_count" {
  description = "Instances: 1, or more to survive the loss of a zone."
  type        = number
  default     = 1

  validation {
    condition     = var.instance_count >= 1 && var.instance_count <= 3
    error_message = "instance_count is 1 to 3."
  }
}

variable "database_name" {
  description = "Name of the database."
  type        = string
  default     = "switchboard"
}

variable "owner" {
  description = "Master user: owns what the migrations make."
  type        = string
  default     = "switchboard"
}

variable "service_user" {
  description = "Database role that functions log in as with an IAM token."
  type        = string
  default     = "switchboard_gateway"
}

variable "vpc_id" {
  description = "Network of the database."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the database and its proxy, in two zones at least."
  type        = list(string)
}

variable "client_security_group_id" {
  description = "Security group of the functions: they reach the proxy, or the database when there is none."
  type        = string
}

variable "admin_security_group_id" {
  description = "Security group of the migration: it reaches the database itself."
  type        = string
}

variable "enable_proxy" {
  description = "Whether RDS Proxy stands between the functions and the database."
  type        = bool
  default     = true
}

variable "backup_retention_days" {
  description = "Days that the database can be taken back to any second of."
  type        = number
  default     = 7

  validation {
    condition     = var.backup_retention_days >= 1 && var.backup_retention_days <= 35
    error_message = "backup_retention_days is 1 to 35."
  }
}

variable "deletion_protection" {
  description = "Whether the database refuses to be deleted."
  type        = bool
  default     = true
}

variable "skip_final_snapshot" {
  description = "Whether a deleted database leaves no snapshot behind."
  type        = bool
  default     = false
}

variable "enable_performance_insights" {
  description = "Whether RDS keeps seven days of query statistics."
  type        = bool
  default     = true
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps the database's log."
  type        = number
  default     = 14
}

variable "kms_key_arn" {
  description = "Key of storage, backups, secret and logs; null: the services' own."
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
