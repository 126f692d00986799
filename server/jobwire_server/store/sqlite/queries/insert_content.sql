-- Keeps a payload or a result that is too large for its row.
INSERT OR REPLACE INTO content (id, data) VALUES (:id, :data)
