-- Makes a secret at its first use; the first one stays.
INSERT OR IGNORE INTO secret (purpose, value) VALUES (:purpose, :value)
