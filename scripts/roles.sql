-- SPDX-License-Identifier: Apache-2.0
-- roles.sql - the roles and the database of a development or container set-up.
--
-- Run by a superuser with psql, any number of times; ./dev and docker-compose both do.
-- With passwords: psql -v owner_password=... -v gateway_password=... -f roles.sql
--
-- switchboard           owns the database and what the migrations make
-- switchboard_gateway   the service logs in as this one: it owns nothing and may only execute the API
-- switchboard_service, switchboard_app   the groups that the migrations grant to

select format('create role %I %s', r.name, r.attributes)
  from (values ('switchboard', 'login'),
               ('switchboard_gateway', 'login'),
               ('switchboard_service', 'nologin'),
               ('switchboard_app', 'nologin')) as r (name, attributes)
 where not exists (select from pg_catalog.pg_roles as p where p.rolname = r.name)
\gexec

select format('grant %I to %I', m.granted, m.member)
  from (values ('switchboard_app', 'switchboard_service'),
               ('switchboard_service', 'switchboard_gateway')) as m (granted, member)
 where not pg_catalog.pg_has_role(m.member, m.granted, 'member')
\gexec

\if :{?owner_password}
alter role switchboard password :'owner_password';
\endif
\if :{?gateway_password}
alter role switchboard_gateway password :'gateway_password';
\endif

select 'create database switchboard owner switchboard'
 where not exists (select from pg_catalog.pg_database as d where d.datname = 'switchboard')
\gexec
