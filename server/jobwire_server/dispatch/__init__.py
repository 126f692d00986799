"""The one component that leases jobs from the store, and the sessions of the workers that hold them.

What is kept here (sessions, credits, lanes that may hold work, cancel orders) is derived from the store and bounded;
all of it may be lost at any moment without losing a job.
"""
