# SPDX-License-Identifier: Apache-2.0
output "vpc_id" {
  description = "Id of the network."
  value       = aws_vpc.this.id
}

output "cidr_block" {
  description = "Addresses of the network."
  value       = aws_vpc.this.cidr_block
}

output "private_subnet_ids" {
  description = "Subnets for functions, once they have their way out."
  value       = [for zone, _ in local.zones : aws_subnet.private[zone].id]

  depends_on = [aws_route.private, aws_route_table_association.private, aws_vpc_endpoint.this]
}

output "database_subnet_ids" {
  description = "Subnets for the database and its proxy."
  value       = [for zone, _ in local.zones : aws_subnet.database[zone].id]
}

output "nat_public_ips" {
  description = "Addresses that calls from the private subnets come from."
  value       = [for zone in local.nat_zones : aws_eip.nat[zone].public_ip]
}
