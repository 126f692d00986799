"""What holds for every test."""

from __future__ import annotations

import os

from hypothesis import settings

# A machine that is busy with other things is no reason to fail.
settings.register_profile("jobwire", deadline=None)
settings.load_profile("jobwire")

# Nor is what the person who runs the tests has chosen for other servers: contexts are an empty file here.
os.environ["JOBWIRE_CONTEXTS"] = os.devnull
