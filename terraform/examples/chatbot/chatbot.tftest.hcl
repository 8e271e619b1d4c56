# SPDX-License-Identifier: Apache-2.0
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

# The file itself is not needed for a plan.
variables {
  lambda_package = { filename = "package.zip", hash = "aGFzaA==" }
}

run "chatbot" {
  command = plan

  assert {
    condition     = output.authorizer_function_name == "chatbot-prod-authorizer" && strcontains(output.test_connection_url, "?token=")
    error_message = "nobody connects without a token"
  }
  assert {
    condition     = output.route_keys == tolist(["$connect", "$default", "$disconnect", "chat_message"]) && local.environment.SWITCHBOARD_ROUTES == "assistant"
    error_message = "messages reach the user's routes first"
  }
  assert {
    condition     = local.environment.SWITCHBOARD_JWT_JWKS_URL == var.jwt_jwks_url && local.environment.SWITCHBOARD_JWT_ISSUER == var.jwt_issuer && local.environment.SWITCHBOARD_JWT_AUDIENCE == var.jwt_audience
    error_message = "tokens are checked against the provider's keys"
  }
  assert {
    condition     = local.log_retention_days == 365 && length(output.nat_public_ips) == 2
    error_message = "logs for a year, a way out in each zone"
  }
}
