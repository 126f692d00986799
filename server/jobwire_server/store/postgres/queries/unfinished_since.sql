-- By how much the number of unfinished jobs has grown after a revision. Index: event_pkey.
SELECT coalesce(sum(
  CASE WHEN state IN (5, 6, 7, 8) THEN 0 ELSE 1 END
  - CASE WHEN kind = 2 OR previous_state IN (5, 6, 7, 8) THEN 0 ELSE 1 END
), 0)::bigint
FROM event
WHERE revision > %(after)s::bigint AND revision <= %(upto)s::bigint AND kind <> 5
