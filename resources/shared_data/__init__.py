"""One data folder for several hosts: its digest, its archive in the bucket, and the folder that a host reads.

What the files of the folder mean is no matter of this package.
"""
