"""Network access: the proxies that requests use, and the certificates that are trusted.

Every client of a remote host is built from one `Network`. The content of requests and answers does not belong here.
"""
