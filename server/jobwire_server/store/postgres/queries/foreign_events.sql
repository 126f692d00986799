-- What a stretch of the log says to those who did not write it, a part at a time: lanes in which jobs became PENDING, (key,
-- fence, state) of running jobs whose cancel was asked for or that were ended by force, earliest due time, and the last
-- revision that was read (NULL = no more). Index: event_pkey.
SELECT
  coalesce(json_agg(DISTINCT jsonb_build_array(queue, type)) FILTER (WHERE state = 2), '[]')::text,
  coalesce(
    json_agg(json_build_array(key, fence, state)) FILTER (
      WHERE previous_state = 3 AND (state IN (7, 8) OR state = 3 AND cancel_us IS NOT NULL)
    ),
    '[]'
  )::text,
  min(due_us) FILTER (WHERE state IN (1, 4)),
  max(revision)
FROM (
  SELECT *
  FROM jobwire.event
  WHERE revision > %(after)s::bigint AND revision <= %(upto)s::bigint
  ORDER BY revision
  LIMIT %(limit)s::bigint
) AS part
