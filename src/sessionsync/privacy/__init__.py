"""What leaves the machine goes through here: secrets are found and replaced."""
