"""The way to the upstreams: which one, how often it is tried (`client.py`), and HTTP itself (`http.py`)."""
