-- The highest revision that may go now: older than the age, and not among the newest. Index: event_pkey.
SELECT max(revision)
FROM (
  SELECT revision, time_us FROM event
  WHERE revision <= %(newest)s::bigint - %(keep)s::bigint
  ORDER BY revision
  LIMIT %(limit)s::bigint
) AS old
WHERE time_us < %(before)s::bigint
