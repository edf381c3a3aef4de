"""What is dangerous in this Python source? Bandit's findings, from a limited child process."""
