"""What a plan did, as pictures."""
