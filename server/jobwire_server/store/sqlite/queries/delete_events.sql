DELETE FROM event WHERE revision <= :revision
