-- Every attempt as `AttemptRow`. Index: primary key.
SELECT key, fence, number
FROM attempt
ORDER BY key, fence
