# SPDX-License-Identifier: Apache-2.0
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

# The file itself is not needed for a plan.
variables {
  lambda_package = { filename = "package.zip", hash = "aGFzaA==" }
}

run "chat" {
  command = plan

  assert {
    condition     = output.route_keys == tolist(["$connect", "$default", "$disconnect", "chat", "history", "join_room", "leave_room", "ping", "private_message", "room_list", "typing_indicator"]) && local.selection_expression == "$request.body.type"
    error_message = "a route for every type of message"
  }
  assert {
    condition     = output.connect_function_name == "chat-dev-connect" && output.disconnect_function_name == "chat-dev-disconnect" && output.message_function_name == "chat-dev-message"
    error_message = "three functions"
  }
  assert {
    condition     = output.authorizer_function_name == null
    error_message = "the profile looks at tokens itself"
  }
}
