# SPDX-License-Identifier: Apache-2.0
mock_provider "aws" {
  source          = "../../tests/mocks"
  override_during = plan
}

variables {
  backend_function_name = "backend"
  backend_invoke_arn    = "arn:aws:apigateway:us-east-1:lambda:path/backend"
}

run "an_application_changes_the_source_and_nothing_else" {
  command = plan

  assert {
    condition     = output.websocket_api_endpoint == "wss://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod" && output.websocket_management_endpoint == "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod"
    error_message = "the outputs that it used are there"
  }
}
