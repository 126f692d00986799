-- Makes a secret at its first use; the first one stays.
INSERT INTO secret (purpose, value) VALUES (%(purpose)s::text, %(value)b::bytea) ON CONFLICT (purpose) DO NOTHING
