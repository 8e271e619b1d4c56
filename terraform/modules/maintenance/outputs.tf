# SPDX-License-Identifier: Apache-2.0
output "schedule_names" {
  description = "Names of the schedules."
  value       = sort(keys(aws_scheduler_schedule.this))
}

output "schedule_group_name" {
  description = "Group of the schedules."
  value       = aws_scheduler_schedule_group.this.name
}

output "dead_letter_queue_name" {
  description = "Queue of the calls that Lambda did not take."
  value       = aws_sqs_queue.dead_letters.name
}

output "role_arn" {
  description = "Role of the schedules."
  value       = aws_iam_role.this.arn
}
