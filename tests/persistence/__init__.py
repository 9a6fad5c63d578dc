"""Against real servers, private to the test run."""
