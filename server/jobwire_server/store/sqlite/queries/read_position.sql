-- Epoch, newest revision (the floor when the log is empty) and floor of the log. Index: rowid, last entry.
SELECT
  (SELECT value FROM meta WHERE name = 'epoch'),
  max(coalesce((SELECT max(revision) FROM event), 0), value),
  value
FROM meta
WHERE name = 'compacted'
