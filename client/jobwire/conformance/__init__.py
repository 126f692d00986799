"""Judges whether a worker or a submitter, in any language, keeps the protocol: behind `jobwire conformance`.

A private server, a proxy before it that loses, repeats and holds back what passes, the program under test, and a table
of points. Needs the installed `jobwire` command for the server, and imports nothing of it.
"""
