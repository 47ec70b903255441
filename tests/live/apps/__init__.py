"""Apps of somebody else, for the tests of the extension: each is served by a configuration that is not ours."""
