"""One data folder for several hosts: its digest, its archive in the bucket, and the folder that a host reads.

The meaning of the folder's files does not belong here.
"""
