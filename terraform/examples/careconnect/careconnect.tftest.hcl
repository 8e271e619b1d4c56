# SPDX-License-Identifier: Apache-2.0
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

# The file itself is not needed for a plan.
variables {
  lambda_package = { filename = "package.zip", hash = "aGFzaA==" }
}

run "careconnect" {
  command = plan

  assert {
    condition     = var.profile == "careconnect" && local.enable_authorizer == false && local.selection_expression == "$request.body.action"
    error_message = "everybody may connect, messages go by their action"
  }
  assert {
    condition     = output.route_keys == tolist(["$connect", "$default", "$disconnect"]) && output.connect_function_name == "careconnect-prod-main" && output.message_function_name == "careconnect-prod-main"
    error_message = "one backend is behind three routes"
  }
  assert {
    condition     = local.throttling_rate_limit == 100 && var.throttling_burst_limit == 500 && local.environment.SWITCHBOARD_CONNECTION_TTL_MINUTES == "120"
    error_message = "limits and time to live are careconnect's"
  }
}
