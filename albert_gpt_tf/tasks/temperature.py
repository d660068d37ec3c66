"""The temperature of a classifier: what divides its logits before they become probabilities."""

import math


def check_temperature(value: float, regression: bool) -> float:
    """A temperature as a float; ValueError if it is not above 0, or divides the number of a regression."""
    value = float(value)
    if not (0 < value < math.inf):
        raise ValueError(f"Expected a temperature above 0. Received: temperature={value}. Leave it at 1, say.")
    if regression and value != 1:
        raise ValueError(
            f"Expected temperature=1 for a regression, which has no probabilities. Received: temperature={value}. "
            "Leave it out."
        )
    return value
