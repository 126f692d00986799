-- The highest revision that may go now: older than the age, and not among the newest `:keep`. Index: rowid.
SELECT max(revision) FROM (
  SELECT revision, time_us FROM event WHERE revision <= :newest - :keep ORDER BY revision LIMIT :limit
) WHERE time_us < :before
