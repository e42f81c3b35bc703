"""Offers each command as one call, whose answer is an object to read and save."""
