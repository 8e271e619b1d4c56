# SPDX-License-Identifier: Apache-2.0
project_name = "chatbot"
environment  = "prod"
profile      = "chatbot"
stage_name   = "prod"

# Your schema with respond(event), in front of the shipped one that answers from the history.
routes = ["assistant"]

function_layout             = "split"
lambda_message_memory_size  = 1024
lambda_reserved_concurrency = 100
connection_ttl_minutes      = 10
throttling_burst_limit      = 100
throttling_rate_limit       = 50
database_instance_count     = 2
nat_gateway                 = "per_az"

jwt_issuer   = "https://id.example.com/"
jwt_audience = "chatbot"
jwt_jwks_url = "https://id.example.com/.well-known/jwks.json"

lambda_package = {
  filename = "../dist/switchboard-lambda-x86_64.zip"
}
