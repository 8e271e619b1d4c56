# SPDX-License-Identifier: Apache-2.0
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

# The file itself is not needed for a plan.
variables {
  lambda_package = { filename = "package.zip", hash = "aGFzaA==" }
}

run "broadcast" {
  command = plan

  assert {
    condition     = output.route_keys == tolist(["$connect", "$default", "$disconnect", "sendMessage"]) && local.selection_expression == "$request.body.action"
    error_message = "echo and sendMessage"
  }
  assert {
    condition     = output.websocket_stage_name == "production" && local.environment.SWITCHBOARD_CONNECTION_TTL_MINUTES == "1440" && local.tags.Stack == "demo"
    error_message = "stage, time to live and stack are as said"
  }
  assert {
    condition     = module.postgres.proxy_name == null && output.database_proxy_host == "database.example"
    error_message = "functions log in to the instance"
  }
}
