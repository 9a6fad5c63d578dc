"""Tests of finding events: one contract suite for the indexes, and what feeds them."""
