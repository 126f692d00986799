-- The jobs of one atomic batch, in order. Index: rowid.
SELECT json_group_array(json_array(id, state, revision))
FROM (SELECT id, state, revision FROM job WHERE key BETWEEN :first AND :last ORDER BY key)
