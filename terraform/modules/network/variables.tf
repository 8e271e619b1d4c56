# SPDX-License-Identifier: Apache-2.0
variable "name" {
  description = "Beginning of the names of what belongs to the network."
  type        = string
}

variable "cidr_block" {
  description = "Addresses of the network."
  type        = string
  default     = "10.20.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.cidr_block, 4, 15)) && tonumber(split("/", var.cidr_block)[1]) <= 22
    error_message = "cidr_block is an IPv4 block of /22 or larger."
  }
}

variable "availability_zone_count" {
  description = "Zones that the network spans."
  type        = number
  default     = 2

  validation {
    condition     = var.availability_zone_count >= 2 && var.availability_zone_count <= 4
    error_message = "availability_zone_count is 2 to 4: a database wants two."
  }
}

variable "nat_gateway" {
  description = "Way out of the private subnets: none, single or per_az. Functions need one to reach @connections."
  type        = string
  default     = "single"

  validation {
    condition     = contains(["none", "single", "per_az"], var.nat_gateway)
    error_message = "nat_gateway is none, single or per_az."
  }
}

variable "interface_endpoints" {
  description = "AWS services with an endpoint in the network, such as secretsmanager and logs."
  type        = set(string)
  default     = []

  validation {
    condition     = !contains(var.interface_endpoints, "execute-api")
    error_message = "An execute-api endpoint reaches private REST APIs only; with it, calls of @connections answer 403."
  }
}

variable "enable_flow_logs" {
  description = "Whether CloudWatch gets a line for every connection that was rejected."
  type        = bool
  default     = false
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps flow logs."
  type        = number
  default     = 14
}

variable "log_kms_key_arn" {
  description = "Key of the flow logs; null: the service's own."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of everything that can be tagged."
  type        = map(string)
  default     = {}
}
