-- A server says good-bye. Index: server_pkey.
DELETE FROM jobwire.server WHERE instance_id = %(instance_id)s::text
