-- What became of jobs whose report came too late. Index: job_pkey.
SELECT coalesce(json_agg(json_build_array(job.key, job.state, job.fence)), '[]')::text
FROM jsonb_array_elements_text(%(keys)s::jsonb) WITH ORDINALITY AS r (value, n)
JOIN job ON job.key = r.value::bigint
