# For mypy: a module of tests/ has the name of its folder before its own.
