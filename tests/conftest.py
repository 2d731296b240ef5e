"""Settings that every test shares; fixtures live beside the tests that use them."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Drawn examples are the same in every run, so that a red suite stays red until it is mended;
# HYPOTHESIS_PROFILE=explore searches for new ones.
settings.register_profile("repeat", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))

# Fixtures of the whole suite that are long enough for a file of their own.
pytest_plugins = ["tests.browsers", "tests.clusters"]
