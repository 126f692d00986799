DELETE FROM server WHERE instance_id = %(instance_id)s::text
