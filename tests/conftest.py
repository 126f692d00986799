"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# A machine that is busy with other things is no reason to fail.
settings.register_profile("jobwire", deadline=None)
settings.load_profile("jobwire")
