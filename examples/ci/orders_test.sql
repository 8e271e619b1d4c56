-- SPDX-License-Identifier: Apache-2.0
-- orders_test.sql - the routes of examples/order-status, called as the service calls them.
begin;
select plan(7);

-- Routes run as the owner of the schema switchboard.
set local role switchboard;
set local search_path = public;

create function pg_temp.event(members jsonb)
returns switchboard.event
language sql as $$
    select jsonb_populate_record(null::switchboard.event, '{"connection_id": "c1"}'::jsonb || members);
$$;

-- ---- a route is a function: call it ----
select is(d.kind, 'reply', 'an answer goes to who asked')
  from orders."$default"(pg_temp.event('{"body": {"action": "dance"}}')) as d;
select is(d.payload::jsonb ->> 'message', 'There is no order 7', 'an order that is not there')
  from orders.watch(pg_temp.event('{"body": {"orderId": 7}}')) as d;

-- ---- with a connection, which subscribe() and to_user() look at ----
insert into switchboard.websocket_connections (connection_id, connection_type, expires_at)
values ('c1', 'aws', now() + interval '1 hour');
select is(d.payload::jsonb - 'updatedAt',
          '{"type": "order", "orderId": 42, "item": "A towel", "status": "received"}',
          'who watches is told how the order stands')
  from orders.watch(pg_temp.event('{"body": {"orderId": 42}}')) as d;
select bag_eq($$ select topic from switchboard.websocket_subscriptions where connection_id = 'c1' $$,
              $$ values ('order:42') $$, 'and is subscribed');
select is_empty($$ select * from orders.unwatch(pg_temp.event('{"body": {"orderId": 42}}')) $$,
                'unwatch says nothing');
select is_empty($$ select from switchboard.websocket_subscriptions where connection_id = 'c1' $$,
                'and ends it');

-- ---- the service finds the routes ----
set local role switchboard_gateway;
select bag_has($$ select route_key from switchboard.route_table('{orders}') $$,
               $$ values ('watch'), ('unwatch'), ('$connect') $$, 'the service sees the routes');

select * from finish();
rollback;
