"""Files moved from an HTTPS server into a bucket, by dailies and by other programs, on this machine.

Code belongs here if it serves, slows down or moves files for `bench/transfer`.
"""
