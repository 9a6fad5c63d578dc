"""What it does a second, beside other ways to do the same, on one machine in one run."""
