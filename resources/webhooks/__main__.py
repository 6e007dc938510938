"""`python -m resources.webhooks`: serve the receiver on 127.0.0.1 until it is ended."""

from resources.settings import load_settings
from resources.webhooks.server import serve

if __name__ == "__main__":
    serve(load_settings())
