-- The log after a revision, in order. Index: rowid.
SELECT * FROM event WHERE revision > :after ORDER BY revision LIMIT :limit
