# SPDX-License-Identifier: Apache-2.0
# Who may talk to whom.  Nothing may talk to a function: Lambda calls it by another way.

resource "aws_security_group" "functions" {
  name        = "${local.name}-functions"
  description = "Functions of ${local.name}"
  vpc_id      = local.network.vpc_id
  tags        = { Name = "${local.name}-functions" }
}

resource "aws_security_group" "migration" {
  name        = "${local.name}-migration"
  description = "Migration of ${local.name}"
  vpc_id      = local.network.vpc_id
  tags        = { Name = "${local.name}-migration" }
}

# @connections, Secrets Manager, a provider's keys: no fixed addresses.
resource "aws_vpc_security_group_egress_rule" "https" {
  for_each = {
    functions = aws_security_group.functions.id
    migration = aws_security_group.migration.id
  }

  security_group_id = each.value
  description       = "HTTPS"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "functions_database" {
  security_group_id            = aws_security_group.functions.id
  description                  = "PostgreSQL"
  referenced_security_group_id = module.postgres.client_target_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = module.postgres.port
  to_port                      = module.postgres.port
}

resource "aws_vpc_security_group_egress_rule" "migration_database" {
  security_group_id            = aws_security_group.migration.id
  description                  = "PostgreSQL"
  referenced_security_group_id = module.postgres.database_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = module.postgres.port
  to_port                      = module.postgres.port
}
