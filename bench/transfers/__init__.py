"""Moving files from an HTTPS server into a bucket, dailies' way and others', on this machine.

It belongs here if it serves, slows down or moves files for `bench/transfer`.
"""
