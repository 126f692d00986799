"""The verbs of the store seam, written once for all drivers: what is asked of the database, and in which order.

A driver brings the statements (a `.sql` file for each name used here), a `Transaction` to run them in, and a thread
that commits. The verbs rely on one thing: no other transaction changes jobs between begin and end of theirs.
"""
