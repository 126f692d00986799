DELETE FROM content WHERE id IN (SELECT 2 * value FROM jsonb_each(:keys) UNION ALL SELECT 2 * value + 1 FROM jsonb_each(:keys))
