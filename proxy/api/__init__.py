"""The proxy's HTTP endpoints, the same for both upstreams."""
