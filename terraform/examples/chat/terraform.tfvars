# SPDX-License-Identifier: Apache-2.0
project_name = "chat"
environment  = "dev"
profile      = "chat"
stage_name   = "staging"

function_layout            = "split"
lambda_message_memory_size = 512
connection_ttl_hours       = 24
throttling_burst_limit     = 500
throttling_rate_limit      = 1000

# Frames that come with every key press must not crowd out the rest.
route_throttling = {
  typing_indicator = { rate_limit = 200, burst_limit = 100 }
}

lambda_package = {
  filename = "../dist/switchboard-lambda-x86_64.zip"
}
