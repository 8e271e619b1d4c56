# SPDX-License-Identifier: Apache-2.0
mock_provider "aws" {
  source          = "../../tests/mocks"
  override_during = plan
}

variables {
  backend_url       = "https://backend.example/ws"
  backend_role_name = "machines"
}

run "machines_may_post_to_this_stage" {
  command = plan

  assert {
    condition     = one(jsondecode(aws_iam_role_policy.post.policy).Statement[0].Resource) == "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/*/@connections/*" && aws_iam_role_policy.post.role == "machines"
    error_message = "one action on one stage"
  }
  assert {
    condition     = length(module.websocket.route_keys) == 3
    error_message = "three routes"
  }
}
