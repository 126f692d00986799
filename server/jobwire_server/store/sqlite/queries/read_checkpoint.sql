-- What an earlier attempt of a job left. Index: rowid.
SELECT form, type, encoding, data FROM checkpoint WHERE key = :key
