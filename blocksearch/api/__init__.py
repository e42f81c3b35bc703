"""The face: what each command does is one call here, and its answer an object to read and save."""
