-- A server says that it is there, and until when that holds. Index: server_pkey.
INSERT INTO server (instance_id, alive_until_us) VALUES (%(instance_id)s::text, %(until)s::bigint)
ON CONFLICT (instance_id) DO UPDATE SET alive_until_us = excluded.alive_until_us
