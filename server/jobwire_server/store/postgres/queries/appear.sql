-- A server says that it is there, and for how long that holds. Index: server_pkey.
INSERT INTO jobwire.server (instance_id, alive_until_us)
VALUES (%(instance_id)s::text, jobwire.now_us() + %(presence_us)s::bigint)
ON CONFLICT (instance_id) DO UPDATE SET alive_until_us = excluded.alive_until_us
