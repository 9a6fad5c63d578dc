"""The pure core: single promises, and everything at once under Hypothesis against a model."""
