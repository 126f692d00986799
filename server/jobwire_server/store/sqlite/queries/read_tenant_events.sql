SELECT * FROM event WHERE revision > :after AND tenant = :tenant ORDER BY revision LIMIT :limit
