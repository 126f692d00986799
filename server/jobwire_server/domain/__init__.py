"""Pure decisions about jobs: values, the lifecycle table, retry delays, leases, validation, errors.

Nothing here knows a clock, a random number, a database, asyncio or gRPC. Times are integers in microseconds
(`*_us`): instants count from the Unix epoch, durations are plain differences.
"""
