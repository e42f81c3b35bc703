"""What all tests share: profiles of hypothesis, none with a deadline, since a busy machine is no
failure.
"""

import os

from hypothesis import HealthCheck, settings

_CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=20, **_CALM)
settings.register_profile("thorough", max_examples=100, **_CALM)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
