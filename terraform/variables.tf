# SPDX-License-Identifier: Apache-2.0
# ---- where, and what it is called ----

variable "aws_region" {
  description = "Region of everything."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.aws_region))
    error_message = "aws_region looks like us-east-1."
  }
}

variable "project_name" {
  description = "First part of every name."
  type        = string
  default     = "websocket-api"

  validation {
    condition     = can(regex("^[a-zA-Z][a-zA-Z0-9-]{0,22}[a-zA-Z0-9]$", var.project_name))
    error_message = "project_name is 2 to 24 letters, digits and '-', and begins with a letter."
  }
}

variable "environment" {
  description = "Second part of every name."
  type        = string
  default     = "dev"

  validation {
    condition     = can(regex("^[a-zA-Z0-9-]{1,12}$", var.environment))
    error_message = "environment is 1 to 12 letters, digits and '-'."
  }
}

variable "stack_name" {
  description = "Third part of every name, and the tag Stack; null: neither."
  type        = string
  default     = null

  validation {
    condition     = var.stack_name == null || can(regex("^[a-zA-Z0-9-]{1,12}$", var.stack_name))
    error_message = "stack_name is 1 to 12 letters, digits and '-'."
  }
}

variable "default_tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}

variable "additional_tags" {
  description = "More tags of everything; they win over default_tags."
  type        = map(string)
  default     = {}
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary of every role."
  type        = string
  default     = null
}

# ---- what it does ----

variable "profile" {
  description = "Which of the shipped sets of routes: careconnect, broadcast, chat or chatbot."
  type        = string
  default     = "careconnect"

  validation {
    condition     = contains(["careconnect", "broadcast", "chat", "chatbot"], var.profile)
    error_message = "profile is careconnect, broadcast, chat or chatbot."
  }
}

variable "routes" {
  description = "Schemas of your own routes, in front of the profile's."
  type        = list(string)
  default     = []
}

variable "connection_ttl_hours" {
  description = "After that a connection's row expires; null: the profile's. API Gateway closes connections after 2 hours anyway."
  type        = number
  default     = null

  validation {
    condition     = var.connection_ttl_hours == null || try(var.connection_ttl_hours > 0 && var.connection_ttl_hours <= 168, false)
    error_message = "connection_ttl_hours is up to 168."
  }
}

variable "connection_ttl_minutes" {
  description = "The same in minutes; it wins over connection_ttl_hours."
  type        = number
  default     = null

  validation {
    condition     = var.connection_ttl_minutes == null || try(var.connection_ttl_minutes >= 1 && var.connection_ttl_minutes <= 10080 && floor(var.connection_ttl_minutes) == var.connection_ttl_minutes, false)
    error_message = "connection_ttl_minutes is a whole number, 1 to 10080."
  }
}

variable "cleanup_schedule" {
  description = "How often expired connections are deactivated and old rows are deleted."
  type        = string
  default     = "rate(15 minutes)"
}

variable "delivery_schedule" {
  description = "How often what was published outside of functions is delivered, and what a failed one left."
  type        = string
  default     = "rate(1 minute)"
}

# ---- the API ----

variable "api_name" {
  description = "Name of the API; null: as everything else is called."
  type        = string
  default     = null
}

variable "api_description" {
  description = "Description of the API."
  type        = string
  default     = "WebSocket API of Switchboard"
}

variable "stage_name" {
  description = "Name of the stage: the path of the WebSocket URL."
  type        = string
  default     = "staging"
}

variable "route_selection_expression" {
  description = "Where a message says its route; null: where the profile's clients say it."
  type        = string
  default     = null
}

variable "custom_routes" {
  description = "Route keys besides $connect, $disconnect and $default; null: the profile's."
  type        = set(string)
  default     = null
}

variable "routes_with_response" {
  description = "Route keys whose integration response is sent back to the client."
  type        = set(string)
  default     = []
}

variable "integration_timeout_milliseconds" {
  description = "How long the API waits for an answer."
  type        = number
  default     = 29000
}

variable "throttling_burst_limit" {
  description = "Messages that each route takes at once."
  type        = number
  default     = 500
}

variable "throttling_rate_limit" {
  description = "Messages per second that each route takes in the long run; null: 1000, in profile careconnect 100."
  type        = number
  default     = null
}

variable "route_throttling" {
  description = "Limits of single routes by route key."
  type = map(object({
    burst_limit = optional(number)
    rate_limit  = optional(number)
  }))
  default = {}
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

# ---- who may connect ----

variable "enable_authorizer" {
  description = "Whether an authorizer checks tokens before $connect; null: in profile chatbot."
  type        = bool
  default     = null
}

variable "authorizer_identity_sources" {
  description = "What a handshake must have, or it is refused without asking the authorizer."
  type        = list(string)
  default     = ["route.request.querystring.token"]
}

variable "jwt_issuer" {
  description = "The iss that tokens must have; null: any."
  type        = string
  default     = null
}

variable "jwt_audience" {
  description = "The aud that tokens must have; null: any."
  type        = string
  default     = null
}

variable "jwt_jwks_url" {
  description = "URL of the keys of RS256 and ES256 tokens."
  type        = string
  default     = null

  validation {
    condition     = var.jwt_jwks_url == null || can(regex("^https://", var.jwt_jwks_url))
    error_message = "jwt_jwks_url begins with https://."
  }
}

variable "jwt_secret_arn" {
  description = "Secret in Secrets Manager that holds the key of HS256, HS384 and HS512 tokens as plain text."
  type        = string
  default     = null
}

variable "jwt_secret_kms_key_arn" {
  description = "Key of that secret, where it is not Secrets Manager's own."
  type        = string
  default     = null
}

# ---- functions ----

variable "function_layout" {
  description = "single: one function behind all routes. split: one each for connecting, disconnecting, messages and the authorizer."
  type        = string
  default     = "single"

  validation {
    condition     = contains(["single", "split"], var.function_layout)
    error_message = "function_layout is single or split."
  }
}

variable "lambda_package" {
  description = "The zip that ./dev package makes: a file, or an object in S3 with the base64 of its SHA-256."
  type = object({
    filename          = optional(string)
    s3_bucket         = optional(string)
    s3_key            = optional(string)
    s3_object_version = optional(string)
    hash              = optional(string)
  })
}

variable "lambda_architecture" {
  description = "What the package was built for: x86_64 or arm64."
  type        = string
  default     = "x86_64"
}

variable "lambda_memory_size" {
  description = "Memory of a function in MB."
  type        = number
  default     = 256

  validation {
    condition     = var.lambda_memory_size >= 128 && var.lambda_memory_size <= 10240
    error_message = "lambda_memory_size is 128 to 10240."
  }
}

variable "lambda_timeout" {
  description = "Seconds that a function may take; the API waits for 29 at most."
  type        = number
  default     = 29

  validation {
    condition     = var.lambda_timeout >= 1 && var.lambda_timeout <= 900
    error_message = "lambda_timeout is 1 to 900."
  }
}

variable "lambda_message_memory_size" {
  description = "Memory of the message function with function_layout split; null: lambda_memory_size."
  type        = number
  default     = null
}

variable "lambda_message_timeout" {
  description = "Seconds of the message function with function_layout split; null: lambda_timeout."
  type        = number
  default     = null
}

variable "lambda_reserved_concurrency" {
  description = "Invocations at a time of the function that takes messages; -1: what the account has."
  type        = number
  default     = -1
}

variable "lambda_provisioned_concurrency" {
  description = "Instances of the function that takes messages kept warm; 0: none."
  type        = number
  default     = 0
}

variable "lambda_environment" {
  description = "More settings for the functions, such as SWITCHBOARD_RATE_LIMIT_CONNECTION. No secrets: whoever may look at a function sees them."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.lambda_environment) : can(regex("^[A-Z][A-Z0-9_]*$", name)) && !startswith(name, "AWS_")])
    error_message = "Names are upper case; those that begin with AWS_ belong to Lambda."
  }
}

variable "ca_file" {
  description = "File in the package with the roots that the database and AWS are trusted by."
  type        = string
  default     = "/var/task/ca.pem"
}

# ---- database and network ----

variable "database_mode" {
  description = "aurora-serverless-v2 or instance."
  type        = string
  default     = "aurora-serverless-v2"

  validation {
    condition     = contains(["aurora-serverless-v2", "instance"], var.database_mode)
    error_message = "database_mode is aurora-serverless-v2 or instance."
  }
}

variable "database_engine_version" {
  description = "PostgreSQL version, 15 or newer."
  type        = string
  default     = "15"
}

variable "database_min_capacity" {
  description = "Aurora capacity units at least."
  type        = number
  default     = 0.5
}

variable "database_max_capacity" {
  description = "Aurora capacity units at most."
  type        = number
  default     = 4
}

variable "database_instance_class" {
  description = "Size of the instance with database_mode instance."
  type        = string
  default     = "db.t4g.micro"
}

variable "database_instance_count" {
  description = "1, or 2 and 3 to survive the loss of a zone."
  type        = number
  default     = 1
}

variable "enable_rds_proxy" {
  description = "Whether RDS Proxy stands between functions and database."
  type        = bool
  default     = true
}

variable "backup_retention_days" {
  description = "Days that the database can be taken back to any second of."
  type        = number
  default     = 7
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

variable "run_migrations" {
  description = "Whether Terraform migrates the database, once for every new package, before the API sees it."
  type        = bool
  default     = true
}

variable "vpc_cidr_block" {
  description = "Addresses of the network."
  type        = string
  default     = "10.20.0.0/16"
}

variable "nat_gateway" {
  description = "Way out of the functions to @connections: single, or per_az to survive the loss of a zone."
  type        = string
  default     = "single"

  validation {
    condition     = contains(["single", "per_az"], var.nat_gateway)
    error_message = "nat_gateway is single or per_az: without one no function reaches @connections."
  }
}

variable "interface_endpoints" {
  description = "AWS services with an endpoint in the network, such as secretsmanager and logs."
  type        = set(string)
  default     = []
}

variable "enable_flow_logs" {
  description = "Whether CloudWatch gets a line for every connection that the network rejected."
  type        = bool
  default     = false
}

variable "existing_network" {
  description = "A network that is there already; its private subnets need a way out to @connections."
  type = object({
    vpc_id              = string
    private_subnet_ids  = list(string)
    database_subnet_ids = list(string)
  })
  default = null
}

# ---- encryption, logs, alarms ----

variable "enable_encryption" {
  description = "Whether the stack has a KMS key of its own; otherwise AWS's keys encrypt the same things."
  type        = bool
  default     = true
}

variable "kms_key_deletion_window" {
  description = "Days that a deleted key can be taken back."
  type        = number
  default     = 30
}

variable "enable_xray_tracing" {
  description = "Whether X-Ray traces invocations."
  type        = bool
  default     = true
}

variable "log_level" {
  description = "Level of the functions' own lines: debug, info, warn or error."
  type        = string
  default     = "info"
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps logs; null: 14, in profile chatbot 365 (it audits)."
  type        = number
  default     = null

  validation {
    condition     = var.log_retention_days == null || contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], coalesce(var.log_retention_days, 14))
    error_message = "log_retention_days is one of those that CloudWatch knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, ..."
  }
}

variable "logging_level" {
  description = "What goes to the API's execution log: OFF, ERROR or INFO."
  type        = string
  default     = "INFO"
}

variable "enable_access_log" {
  description = "Whether the API has an access log."
  type        = bool
  default     = true
}

variable "enable_detailed_metrics" {
  description = "Whether CloudWatch gets metrics of each route."
  type        = bool
  default     = true
}

variable "enable_data_trace" {
  description = "Whether the execution log has message bodies and tokens in it."
  type        = bool
  default     = false
}

variable "manage_account_logging_role" {
  description = "Whether this stack sets API Gateway's logging role for the account and region; without one, logging fails."
  type        = bool
  default     = false
}

variable "alarm_topic_arns" {
  description = "SNS topics that hear of an alarm and of its end."
  type        = list(string)
  default     = []
}

variable "alarm_thresholds" {
  description = "When an alarm goes off; what is left out is as in modules/observability."
  type = object({
    client_errors            = optional(number)
    execution_errors         = optional(number)
    integration_errors       = optional(number)
    integration_latency_ms   = optional(number)
    function_errors          = optional(number)
    function_throttles       = optional(number)
    database_cpu_percent     = optional(number)
    database_acu_percent     = optional(number)
    database_free_storage_gb = optional(number)
    proxy_borrow_latency_us  = optional(number)
    dead_letters             = optional(number)
  })
  default = {}
}
