-- A payload or a result that stands apart. Index: rowid.
SELECT data FROM content WHERE id = :id
