DELETE FROM content WHERE id = 2 * :key + 1
