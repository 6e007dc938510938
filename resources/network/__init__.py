"""The way out of this machine: which proxy a request takes, and which certificates are believed.

Every client that leaves the machine is built from one `Network`. What a request says and what its answer means do not belong here.
"""
