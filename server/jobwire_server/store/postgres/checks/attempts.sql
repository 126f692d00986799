-- Every attempt as `AttemptRow`. Index: primary key.
SELECT key, fence, number
FROM jobwire.attempt
ORDER BY key, fence
