-- What an earlier attempt of a job left. Index: checkpoint_pkey.
SELECT form, type, encoding, data FROM checkpoint WHERE key = %(key)s::bigint
